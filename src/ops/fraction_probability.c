#include "ops/fraction_probability.h"

#include <string.h>

#include "kernels/gating/gating.h"
#include "ops/pieces.h"
#include "ops/values.h"

typedef struct {
    cot_tensor *probs, *out;
    double     *slope;  /* [E] d out / d probs[t, i], the same for every token */
} fraction_saved;

static void fraction_backward(cot_tape *tape, void *saved_)
{
    const fraction_saved *s = saved_;
    const cot_dtype real = s->probs->dtype;
    const int64_t experts = cot_tensor_columns(s->probs), rows = cot_tensor_rows(s->probs);
    const int64_t pieces = cot_pieces(rows, COT_PIECE_TOKENS);
    const double seed = cot_value_at(s->out->grad, real, 0);
    bool add = false;
    void *dp = cot_tape_grad(tape, s->probs, &add);
    if (!dp) return;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t r = p * COT_PIECE_TOKENS; r < cot_piece_end(p, COT_PIECE_TOKENS, rows); r++)
            for (int64_t i = 0; i < experts; i++) cot_value_put(dp, real, r * experts + i, seed * s->slope[i], add);
}

/* The sum over tokens and experts of slope[i] * probs[t, i]; column sums of pieces are added in order. */
static double weigh(cot_tape *tape, const cot_tensor *probs, const double *slope)
{
    const cot_gating_kernels *kernels = cot_gating_kernels_for(cot_tape_mode(tape));
    const int64_t experts = cot_tensor_columns(probs), rows = cot_tensor_rows(probs), each = cot_sum_piece_rows(rows);
    const int64_t pieces = cot_pieces(rows, each);
    const size_t mark = cot_tape_scratch_mark(tape), bytes = (size_t)(pieces * experts) * sizeof(double);
    double *partial = cot_tape_scratch(tape, bytes), total = 0;
    if (!partial) return 0;
    memset(partial, 0, bytes);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->column_sum(p * each, cot_piece_end(p, each, rows), experts, probs->data, partial + p * experts);
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t i = 0; i < experts; i++) total += slope[i] * partial[p * experts + i];
    cot_tape_scratch_release(tape, mark);
    return total;
}

cot_tensor *cot_fraction_probability(cot_tape *tape, cot_tensor *probs, const double *fraction, double scale)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const int64_t experts = cot_tensor_columns(probs), rows = cot_tensor_rows(probs);
    cot_tensor *out = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){1}, probs->needs_grad);
    fraction_saved *s = cot_tape_alloc(tape, sizeof *s);
    double *slope = cot_tape_alloc(tape, (size_t)experts * sizeof *slope);
    if (cot_tape_failed(tape)) return out;
    *s = (fraction_saved){probs, out, slope};
    for (int64_t i = 0; i < experts; i++) slope[i] = rows ? scale * fraction[i] / (double)rows : 0;
    cot_value_set(out->data, out->dtype, 0, weigh(tape, probs, slope));
    cot_tape_record(tape, fraction_backward, s, &out, 1);
    return out;
}
