/* Softmax over rows. */
#ifndef COT_OPS_SOFTMAX_H
#define COT_OPS_SOFTMAX_H

#include "tensor/tape.h"

/* p [T, E] real: each row the softmax of logits [T, E] real. Minus infinity masks: probability and gradient 0; a row
 * that is masked altogether gives zeros. */
cot_tensor *cot_softmax(cot_tape *tape, cot_tensor *logits);

#endif
