/* The product of what experts receive and what the router would give them.   [lepikhin2020gshard], [fedus2021switch],
 * eq. 4 */
#ifndef COT_OPS_FRACTION_PROBABILITY_H
#define COT_OPS_FRACTION_PROBABILITY_H

#include "tensor/tape.h"

/* scale * sum over i of fraction[i] * (mean over t of probs[t, i]), real scalar; probs [T, E] real, fraction [E]
 * constant, copied. Without tokens it is 0. */
cot_tensor *cot_fraction_probability(cot_tape *tape, cot_tensor *probs, const double *fraction, double scale);

#endif
