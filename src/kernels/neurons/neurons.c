#include "kernels/neurons/neurons.h"

COT_KERNELS_DEFINE(neurons)
