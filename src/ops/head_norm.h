/* Root-mean-square norm of queries and keys, before rotary positions. */
#ifndef COT_OPS_HEAD_NORM_H
#define COT_OPS_HEAD_NORM_H

#include "ops/attention.h"

/* A new qkv [T, (num_heads + 2 num_kv_heads) * head_dim] act in which q and k are normed and v is copied.
 *   weights [head_dim] real        each head x becomes w * x / sqrt(mean(x^2) + eps), w shared by the heads of its kind
 *   weights [heads * head_dim]     all heads of the kind share one mean, and each element has a weight of its own
 * Errors, on the tape: COT_SHAPE_MISMATCH. */
cot_tensor *cot_head_norm(cot_tape *tape, cot_tensor *qkv, const cot_attention_shape *shape, cot_tensor *q_weight,
                          cot_tensor *k_weight, double eps);

#endif
