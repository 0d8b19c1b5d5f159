#define COT_ISA ref
#define COT_BODY "kernels/rmsnorm/rmsnorm_body.h"
#include "kernels/instantiate.h"
