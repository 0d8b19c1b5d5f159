#define COT_ISA avx512
#define COT_BODY "kernels/head_norm/head_norm_body.h"
#include "kernels/instantiate.h"
