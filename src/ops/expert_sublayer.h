/* Experts that are stacks of residual feed-forward sublayers, over grouped rows.   [lewis2021base] */
#ifndef COT_OPS_EXPERT_SUBLAYER_H
#define COT_OPS_EXPERT_SUBLAYER_H

#include "ops/experts_ffn.h"

/* What one sublayer of E experts is made of, all real. */
typedef struct {
    cot_tensor *norm, *norm_bias;  /* [E * D] */
    cot_tensor *up, *up_bias;      /* [E, F, D], [E * F] */
    cot_tensor *down, *down_bias;  /* [E, D, F], [E * D] */
} cot_expert_sublayer_weights;

/* out [kept, D] real: the token of each grouped row; x [T, D] act. first [T + 1] is the first assignment of each token; it and
 * the routing live until the reset. */
cot_tensor *cot_expert_rows_gather(cot_tape *tape, cot_tensor *x, const cot_expert_rows *rows, const int64_t *first);

/* y [kept, D] real = x + W_down relu(W_up LayerNorm(x) + b_up) + b_down, everything of the row's expert; x [kept, D] real. */
cot_tensor *cot_expert_sublayer(cot_tape *tape, cot_tensor *x, const cot_expert_rows *rows,
                                const cot_expert_sublayer_weights *weights, double eps);

/* y [T, D] real = residual + sum over a token's kept assignments of gate * (last - start); last, start [kept, D] real. */
cot_tensor *cot_expert_rows_combine(cot_tape *tape, cot_tensor *last, cot_tensor *start, const cot_expert_rows *rows,
                                    const int64_t *first, cot_tensor *residual);

#endif
