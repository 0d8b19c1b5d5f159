#define COT_ISA ref
#define COT_BODY "kernels/cross_entropy/cross_entropy_body.h"
#include "kernels/instantiate.h"
