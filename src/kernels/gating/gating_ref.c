#define COT_ISA ref
#define COT_BODY "kernels/gating/gating_body.h"
#include "kernels/instantiate.h"
