/* The k largest logits of each row. */
#ifndef COT_OPS_TOP_K_ROWS_H
#define COT_OPS_TOP_K_ROWS_H

#include "tensor/tape.h"

/* chosen [T, k]: which of the E logits of a row are largest, largest first, ties to the lower index, k <= E. Minus
 * infinity comes last. Indices carry no gradient. Fails the tape with COT_NOT_FINITE when a logit is NaN or plus
 * infinity. */
void cot_top_k_rows(cot_tape *tape, const cot_tensor *logits, int64_t k, int32_t *chosen);

/* Fails the tape with the same message: `bad` of `count` logits are not usable. */
void cot_top_k_fail(cot_tape *tape, int64_t bad, int64_t count);

#endif
