#define COT_ISA avx2
#define COT_BODY "kernels/rmsnorm/rmsnorm_body.h"
#include "kernels/instantiate.h"
