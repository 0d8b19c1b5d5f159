#define COT_ISA ref
#define COT_BODY "kernels/combine/combine_body.h"
#include "kernels/instantiate.h"
