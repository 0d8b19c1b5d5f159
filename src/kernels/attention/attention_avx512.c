#define COT_ISA avx512
#define COT_BODY "kernels/attention/attention_body.h"
#include "kernels/instantiate.h"
