/* Soft routing: slots that hold mixtures of tokens, and tokens that get mixtures of slots. Tokens mix within runs; the slots of run g
 * are rows g S .. (g + 1) S - 1.   [puigcerver2023sparse] */
#ifndef COT_OPS_SOFT_SLOTS_H
#define COT_OPS_SOFT_SLOTS_H

#include "tensor/tape.h"

/* Which tokens mix: run i has tokens offset[i] .. offset[i + 1] - 1, and token t is row row[t] of x (row NULL: row t). Arrays live
 * until the reset. */
typedef struct {
    int64_t        runs;
    const int64_t *offset;  /* [runs + 1] */
    const int32_t *row;     /* [T] or NULL */
} cot_soft_runs;

/* d [T, S] real: each column of logits [T, S] real a softmax over the tokens of a run. Minus infinity masks; a column that is masked
 * altogether gives zeros. */
cot_tensor *cot_slot_softmax(cot_tape *tape, cot_tensor *logits, const cot_soft_runs *runs);

/* share [T, E] real: sums over the S / E slots of each expert, neighbours, of weight [T, S] real. */
cot_tensor *cot_slot_shares(cot_tape *tape, cot_tensor *weight, int64_t experts);

/* [runs * S, D] act: sum over the tokens of a run of dispatch[t, s] * x[row t]; x [*, D] act, dispatch [T, S] real. */
cot_tensor *cot_slots_from_tokens(cot_tape *tape, cot_tensor *x, cot_tensor *dispatch, const cot_soft_runs *runs);

/* y [*, D] real = residual + sum over the slots of a token's run of combine[t, s] * slots[s]; slots [runs * S, D] real. Rows that are no
 * token's are those of the residual. */
cot_tensor *cot_tokens_from_slots(cot_tape *tape, cot_tensor *slots, cot_tensor *combine, const cot_soft_runs *runs, cot_tensor *residual);

#endif
