#define COT_ISA ref
#define COT_BODY "kernels/batch_norm/batch_norm_body.h"
#include "kernels/instantiate.h"
