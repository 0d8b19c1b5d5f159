/* Vectors put behind each other, each times a factor of its own. */
#ifndef COT_OPS_STACK_SCALED_H
#define COT_OPS_STACK_SCALED_H

#include "tensor/tape.h"

/* y [count * b] real: y[i * b + j] = factor[i] * parts[i][j] / divisor[i], 0 where divisor[i] is 0; parts [b] each, factor
 * [count] real, or NULL: the divisors themselves, so that y is parts. Arrays are kept until the reset. */
cot_tensor *cot_stack_scaled(cot_tape *tape, cot_tensor *const *parts, cot_tensor *factor, const int64_t *divisor, int64_t count);

#endif
