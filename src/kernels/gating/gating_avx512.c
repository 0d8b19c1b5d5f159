#define COT_ISA avx512
#define COT_BODY "kernels/gating/gating_body.h"
#include "kernels/instantiate.h"
