#include "kernels/cross_entropy/cross_entropy.h"

COT_KERNELS_DEFINE(cross_entropy)
