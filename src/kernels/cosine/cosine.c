#include "kernels/cosine/cosine.h"

COT_KERNELS_DEFINE(cosine)
