#include "kernels/head_norm/head_norm.h"

COT_KERNELS_DEFINE(head_norm)
