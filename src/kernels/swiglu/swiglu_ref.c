#define COT_ISA ref
#define COT_BODY "kernels/swiglu/swiglu_body.h"
#include "kernels/instantiate.h"
