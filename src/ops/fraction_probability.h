/* The product of what experts receive and what the router would give them.   [lepikhin2020gshard], [fedus2021switch],
 * eq. 4 */
#ifndef COT_OPS_FRACTION_PROBABILITY_H
#define COT_OPS_FRACTION_PROBABILITY_H

#include "tensor/tape.h"

/* scale * mean over stretches s of (sum over i of fraction[s, i] * (mean over t in s of probs[t, i])), real scalar; probs [T, E]
 * real, fraction [stretches, E] constant, copied. Stretch s has tokens offset[s] .. offset[s + 1] - 1; stretches 0 = one of
 * all. Empty ones do not count; without tokens it is 0. */
cot_tensor *cot_fraction_probability(cot_tape *tape, cot_tensor *probs, int64_t stretches, const int64_t *offset,
                                     const double *fraction, double scale);

#endif
