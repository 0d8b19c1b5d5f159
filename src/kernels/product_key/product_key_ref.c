#define COT_ISA ref
#define COT_BODY "kernels/product_key/product_key_body.h"
#include "kernels/instantiate.h"
