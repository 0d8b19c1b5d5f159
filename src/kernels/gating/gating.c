#include "kernels/gating/gating.h"

COT_KERNELS_DEFINE(gating)
