/* From router scores to the gates of the chosen experts. */
#ifndef COT_OPS_GATE_H
#define COT_OPS_GATE_H

#include "tensor/tape.h"

/* gate [T * k] real: gate[t, j] = probs[t, chosen[t, j]]; probs [T, E] real, chosen [T, k]. */
cot_tensor *cot_gate_gather(cot_tape *tape, cot_tensor *probs, const int32_t *chosen, int64_t k);

/* gate [T * k] real: softmax over the chosen logits of each token; logits [T, E] real. The same as probabilities over
 * all experts divided by the sum of the chosen ones, without their underflow. With k = 1 it is 1 and has no gradient. A
 * token whose chosen experts are all masked gets zeros. */
cot_tensor *cot_gate_softmax(cot_tape *tape, cot_tensor *logits, const int32_t *chosen, int64_t k);

#endif
