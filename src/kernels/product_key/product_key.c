#include "kernels/product_key/product_key.h"

COT_KERNELS_DEFINE(product_key)
