#define COT_ISA ref
#define COT_BODY "kernels/elementwise/elementwise_body.h"
#include "kernels/instantiate.h"
