#define COT_ISA avx512
#define COT_BODY "kernels/neurons/neurons_body.h"
#include "kernels/instantiate.h"
