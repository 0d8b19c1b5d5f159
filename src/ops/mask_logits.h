/* Taking experts out of the choice. */
#ifndef COT_OPS_MASK_LOGITS_H
#define COT_OPS_MASK_LOGITS_H

#include "tensor/tape.h"

/* y [T, E] real = x, minus infinity where blocked [T, E]; no gradient flows through what is blocked. `blocked` is kept until the
 * reset. */
cot_tensor *cot_mask_logits(cot_tape *tape, cot_tensor *x, const uint8_t *blocked);

#endif
