#include "kernels/combine/combine.h"

COT_KERNELS_DEFINE(combine)
