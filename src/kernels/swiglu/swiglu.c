#include "kernels/swiglu/swiglu.h"

COT_KERNELS_DEFINE(swiglu)
