#define COT_ISA ref
#define COT_BODY "kernels/product/tile_body.h"
#include "kernels/instantiate.h"
