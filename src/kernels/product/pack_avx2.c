#define COT_ISA avx2
#define COT_BODY "kernels/product/pack_body.h"
#include "kernels/instantiate.h"
