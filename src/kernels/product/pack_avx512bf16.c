#define COT_ISA avx512bf16
#define COT_BODY "kernels/product/pack_body.h"
#include "kernels/instantiate.h"
