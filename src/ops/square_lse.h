/* The mean square of the log-sum-exp of router logits.   [zoph2022stmoe], eq. 5 */
#ifndef COT_OPS_SQUARE_LSE_H
#define COT_OPS_SQUARE_LSE_H

#include "tensor/tape.h"

/* scale / T * sum over t of lse(logits[t, :])^2, real scalar; logits [T, E] real. Rows that are masked altogether add
 * nothing. */
cot_tensor *cot_square_lse(cot_tape *tape, cot_tensor *logits, double scale);

#endif
