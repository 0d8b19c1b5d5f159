#include "kernels/rmsnorm/rmsnorm.h"

COT_KERNELS_DEFINE(rmsnorm)
