#define COT_ISA avx2
#define COT_BODY "kernels/elementwise/elementwise_body.h"
#include "kernels/instantiate.h"
