/* The loss that teaches thresholds to reproduce a batch rule.   [shazeer2017outrageously], appendix F, eq. 19 */
#ifndef COT_OPS_THRESHOLD_LOSS_H
#define COT_OPS_THRESHOLD_LOSS_H

#include "tensor/tape.h"

/* scale * sum over t and i of (M - [place[t, i] >= 0]) * (p[t, i] - th[i]), real scalar, where M = [p > th] and th =
 * threshold[i] + 1 / E; probs [T, E] real is constant here, threshold [E] real. `place` is kept until the reset. */
cot_tensor *cot_threshold_loss(cot_tape *tape, const cot_tensor *probs, cot_tensor *threshold, const int32_t *place,
                               double scale);

#endif
