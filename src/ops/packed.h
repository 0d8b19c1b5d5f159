/* Panels of a parameter kept from call to call: for generation, where few rows meet the same weights again and again
 * and making panels anew would cost more than the product. Training and long prompts make them on the way
 * (product.h). */
#ifndef COT_OPS_PACKED_H
#define COT_OPS_PACKED_H

#include "ops/matmul.h"

/* The panels of all of w's groups, [G][panels of 64][in, a multiple of 8][64] act, made when the parameter's version
 * moved; or NULL when they would not pay, w is no parameter's, or memory is short. */
const void *cot_packed_panels(cot_tape *tape, const cot_matmul *shape, cot_tensor *w);

#endif
