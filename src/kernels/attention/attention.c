#include "kernels/attention/attention.h"

COT_KERNELS_DEFINE(attention)
