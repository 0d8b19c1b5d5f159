#include "kernels/update/update.h"

COT_KERNELS_DEFINE(update)
