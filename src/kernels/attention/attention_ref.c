#define COT_ISA ref
#define COT_BODY "kernels/attention/attention_body.h"
#include "kernels/instantiate.h"
