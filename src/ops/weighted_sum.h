/* A sum of scalars: how a loss and its balance terms become one. */
#ifndef COT_OPS_WEIGHTED_SUM_H
#define COT_OPS_WEIGHTED_SUM_H

#include "tensor/tape.h"

/* sum over i < count of weights[i] * terms[i], real scalar; terms are real scalars; weights NULL means 1 each. The
 * arrays are copied. */
cot_tensor *cot_weighted_sum(cot_tape *tape, cot_tensor *const *terms, const double *weights, int64_t count);

#endif
