#include "kernels/elementwise/elementwise.h"

COT_KERNELS_DEFINE(elementwise)
