/* A pool of gated feed-forward experts over sorted assignments: grouped products over ragged groups, no padding
 * anywhere. */
#ifndef COT_OPS_EXPERTS_FFN_H
#define COT_OPS_EXPERTS_FFN_H

#include "tensor/tape.h"

/* A routing as the executor needs it; arrays live in the tape's arena or longer. T tokens, E experts, A assignments
 * in token order. */
typedef struct {
    int64_t        tokens, experts, assignments;
    int64_t        kept;       /* grouped rows */
    const int64_t *offset;     /* [E + 1] rows of each expert */
    const int32_t *order;      /* [kept] assignment of each grouped row */
    const int32_t *row_token;  /* [kept] its token */
    const int32_t *row_of;     /* [A] grouped row of each assignment, -1 where it was dropped: it adds nothing */
    const int32_t *token;      /* [A] token of each assignment, never falling */
    cot_tensor    *gate;       /* [A] real */
} cot_expert_rows;

/* y [T, D] real = residual (or 0) + sum over a token's kept assignments of gate * W_down (silu(W_gate x) * W_up x), W
 * of the expert.
 *
 *   x         [T, D] act
 *   gate_up   [E, 2F, D] real; rows 0 .. F-1 gate, F .. 2F-1 up
 *   down      [E, D, F] real
 *   dropout   rate of zeroed hidden values while training; 0 turns it off. Draws under COT_RNG_EXPERT_DROPOUT + layer
 *   residual  [T, D] real or NULL
 *
 * Keeps [kept, 2F] act for going back; what the experts put out is not kept: a gate's gradient is <W_down^T dy, h>. */
cot_tensor *cot_experts_ffn(cot_tape *tape, cot_tensor *x, const cot_expert_rows *rows, cot_tensor *gate_up,
                            cot_tensor *down, double dropout, int layer, cot_tensor *residual);

#endif
