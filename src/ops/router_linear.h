/* The router's linear map: few columns, and in the tape's real type even where activations are bf16 ("selective
 * precision", [fedus2021switch], section 2.4). */
#ifndef COT_OPS_ROUTER_LINEAR_H
#define COT_OPS_ROUTER_LINEAR_H

#include "tensor/tape.h"

/* logits [T, E] real = x W^T; x [T, D] act or real, w [E, D] real. Products and sums are in the real type. */
cot_tensor *cot_router_linear(cot_tape *tape, cot_tensor *x, cot_tensor *w);

#endif
