#define COT_ISA ref
#define COT_BODY "kernels/update/update_body.h"
#include "kernels/instantiate.h"
