/* Losses on router probabilities: how sure single tokens are, and how even all of them together. */
#ifndef COT_OPS_PROBABILITY_LOSSES_H
#define COT_OPS_PROBABILITY_LOSSES_H

#include "tensor/tape.h"

/* All return a real scalar, scale times the loss; probs p [T, E] real, m[i] = mean over t of p[t, i]. Without tokens 0. */

/* Mean over t of the entropy of p[t, :], in nats. */
cot_tensor *cot_mean_entropy(cot_tape *tape, cot_tensor *probs, double scale);

/* max(0, limit - H(m)); limit = infinity: -H(m). */
cot_tensor *cot_entropy_below(cot_tape *tape, cot_tensor *probs, double limit, double scale);

/* Mean over t of |p[t, :]|_1 / |p[t, :]|_2: 1 when each is one-hot.   [you2021speechmoe], eq. 6 */
cot_tensor *cot_mean_unit_l1(cot_tape *tape, cot_tensor *probs, double scale);

/* E * sum over i of m[i]^2: 1 when m is even.   [you2021speechmoe], eq. 7 */
cot_tensor *cot_square_of_mean(cot_tape *tape, cot_tensor *probs, double scale);

#endif
