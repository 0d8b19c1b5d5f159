/* Gates of assignments when tokens have different numbers of them. A assignments in token order: token and expert [A] name
 * the score of each. Indices have no gradient, gates do. */
#ifndef COT_OPS_RAGGED_GATE_H
#define COT_OPS_RAGGED_GATE_H

#include "tensor/tape.h"

/* gate [A] real = scale * scores[token[a], expert[a]]; scores [T, E] real. */
cot_tensor *cot_gate_pick(cot_tape *tape, cot_tensor *scores, const int32_t *token, const int32_t *expert, int64_t count,
                          double scale);

/* gate [A] real: softmax over the picked logits of each token; a token whose picked logits are all masked gets zeros. */
cot_tensor *cot_gate_pick_softmax(cot_tape *tape, cot_tensor *logits, const int32_t *token, const int32_t *expert,
                                  int64_t count);

/* out [A] real = scale * gate / (sum of the token's gates + epsilon), sums over assignments whose slot is not negative (all
 * when slot is NULL); others, and tokens whose sum is 0, get 0. */
cot_tensor *cot_gate_normalise(cot_tape *tape, cot_tensor *gate, const int32_t *token, const int32_t *slot, double scale,
                               double epsilon);

/* out [A] real = a * b, element by element. */
cot_tensor *cot_gate_times(cot_tape *tape, cot_tensor *a, cot_tensor *b);

/* [A] real, all `value`, without gradient. */
cot_tensor *cot_gate_constant(cot_tape *tape, int64_t count, double value);

#endif
