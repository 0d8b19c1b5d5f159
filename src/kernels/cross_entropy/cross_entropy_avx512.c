#define COT_ISA avx512
#define COT_BODY "kernels/cross_entropy/cross_entropy_body.h"
#include "kernels/instantiate.h"
