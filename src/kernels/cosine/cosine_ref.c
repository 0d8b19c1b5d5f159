#define COT_ISA ref
#define COT_BODY "kernels/cosine/cosine_body.h"
#include "kernels/instantiate.h"
