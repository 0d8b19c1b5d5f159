#define COT_ISA avx512
#define COT_BODY "kernels/swiglu/swiglu_body.h"
#include "kernels/instantiate.h"
