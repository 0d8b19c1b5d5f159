#define COT_ISA ref
#define COT_BODY "kernels/head_norm/head_norm_body.h"
#include "kernels/instantiate.h"
