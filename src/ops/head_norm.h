/* Root-mean-square norm of each query and key head, before rotary positions. */
#ifndef COT_OPS_HEAD_NORM_H
#define COT_OPS_HEAD_NORM_H

#include "ops/attention.h"

/* A new qkv [T, (num_heads + 2 num_kv_heads) * head_dim] act: each q and k head x becomes w * x / sqrt(mean(x^2) + eps)
 * with w = q_weight or k_weight [head_dim] real, shared by the heads of its kind; v is copied.
 * Errors, on the tape: COT_SHAPE_MISMATCH. */
cot_tensor *cot_head_norm(cot_tape *tape, cot_tensor *qkv, const cot_attention_shape *shape, cot_tensor *q_weight,
                          cot_tensor *k_weight, double eps);

#endif
