#define COT_ISA avx2
#define COT_BODY "kernels/cosine/cosine_body.h"
#include "kernels/instantiate.h"
