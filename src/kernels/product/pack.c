/* Packing, picked by mode and processor. */
#include "kernels/product/pack.h"

COT_KERNELS_DEFINE(pack)
