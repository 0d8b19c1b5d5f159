/* Rounding to bf16 and back: what a computation in bf16 would have seen, for experiments with selective precision. */
#ifndef COT_OPS_ROUND_BF16_H
#define COT_OPS_ROUND_BF16_H

#include "tensor/tape.h"

/* y = x rounded to the nearest bf16, kept in x's type; the gradient passes unchanged. x itself when it is bf16. */
cot_tensor *cot_round_bf16(cot_tape *tape, cot_tensor *x);

#endif
