#include "kernels/batch_norm/batch_norm.h"

COT_KERNELS_DEFINE(batch_norm)
