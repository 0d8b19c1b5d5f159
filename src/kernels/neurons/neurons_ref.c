#define COT_ISA ref
#define COT_BODY "kernels/neurons/neurons_body.h"
#include "kernels/instantiate.h"
