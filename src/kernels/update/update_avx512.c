#define COT_ISA avx512
#define COT_BODY "kernels/update/update_body.h"
#include "kernels/instantiate.h"
