#define COT_ISA ref
#define COT_BODY "kernels/product/pack_body.h"
#include "kernels/instantiate.h"
