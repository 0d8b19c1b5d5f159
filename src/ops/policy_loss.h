/* The score-function estimator: how a router learns from rewards.   [williams1992simple] */
#ifndef COT_OPS_POLICY_LOSS_H
#define COT_OPS_POLICY_LOSS_H

#include "tensor/tape.h"

/* -scale / T * sum over t of (reward[t] - baseline) * ln p[t, chosen[t]], real scalar, p the softmax of logits [T, E] real; chosen
 * [T], -1 = the token does not count. reward [T] is constant and copied; only logits have a gradient. */
cot_tensor *cot_policy_loss(cot_tape *tape, cot_tensor *logits, const int32_t *chosen, const double *reward, double baseline,
                            double scale);

#endif
