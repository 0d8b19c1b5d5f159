#define COT_ISA avx2
#define COT_BODY "kernels/combine/combine_body.h"
#include "kernels/instantiate.h"
