#include "ops/fraction_probability.h"

#include <string.h>

#include "kernels/gating/gating.h"
#include "ops/pieces.h"
#include "ops/values.h"

typedef struct {
    cot_tensor    *probs, *out;
    int64_t        stretches;
    const int64_t *offset;  /* [stretches + 1] */
    double        *slope;   /* [stretches, E] d out / d probs[t, i], the same for every token of a stretch */
} fraction_saved;

static void fraction_backward(cot_tape *tape, void *saved_)
{
    const fraction_saved *s = saved_;
    const cot_dtype real = s->probs->dtype;
    const int64_t experts = cot_tensor_columns(s->probs);
    const double seed = cot_value_at(s->out->grad, real, 0);
    bool add = false;
    void *dp = cot_tape_grad(tape, s->probs, &add);
    for (int64_t g = 0; dp && g < s->stretches; g++) {
        const int64_t rows = s->offset[g + 1] - s->offset[g], pieces = cot_pieces(rows, COT_PIECE_TOKENS);
        const double *slope = s->slope + g * experts;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
        for (int64_t p = 0; p < pieces; p++)
            for (int64_t r = p * COT_PIECE_TOKENS; r < cot_piece_end(p, COT_PIECE_TOKENS, rows); r++)
                for (int64_t i = 0; i < experts; i++)
                    cot_value_put(dp, real, (s->offset[g] + r) * experts + i, seed * slope[i], add);
    }
}

/* The sum over the tokens of a stretch of slope[i] * probs[t, i]; column sums of pieces are added in order. */
static double weigh(cot_tape *tape, const cot_tensor *probs, int64_t from, int64_t to, const double *slope)
{
    const cot_gating_kernels *kernels = cot_gating_kernels_for(cot_tape_mode(tape));
    const int64_t experts = cot_tensor_columns(probs), rows = to - from, each = cot_sum_piece_rows(rows);
    const int64_t pieces = cot_pieces(rows, each);
    const size_t mark = cot_tape_scratch_mark(tape), bytes = (size_t)(pieces * experts) * sizeof(double);
    double *partial = cot_tape_scratch(tape, bytes), total = 0;
    if (!partial) return 0;
    memset(partial, 0, bytes);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->column_sum(from + p * each, from + cot_piece_end(p, each, rows), experts, probs->data, partial + p * experts);
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t i = 0; i < experts; i++) total += slope[i] * partial[p * experts + i];
    cot_tape_scratch_release(tape, mark);
    return total;
}

static int64_t not_empty(int64_t stretches, const int64_t *offset)
{
    int64_t count = 0;
    for (int64_t g = 0; g < stretches; g++) count += offset[g + 1] > offset[g];
    return count;
}

cot_tensor *cot_fraction_probability(cot_tape *tape, cot_tensor *probs, int64_t stretches, const int64_t *offset,
                                     const double *fraction, double scale)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const int64_t experts = cot_tensor_columns(probs), count = stretches ? stretches : 1;
    cot_tensor *out = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){1}, probs->needs_grad);
    fraction_saved *s = cot_tape_alloc(tape, sizeof *s);
    double *slope = cot_tape_alloc(tape, (size_t)(count * experts) * sizeof *slope), total = 0;
    int64_t *at = cot_tape_alloc(tape, (size_t)(count + 1) * sizeof *at);
    if (cot_tape_failed(tape)) return out;
    at[0] = 0, at[count] = cot_tensor_rows(probs);
    if (stretches) memcpy(at, offset, (size_t)(count + 1) * sizeof *at);
    *s = (fraction_saved){probs, out, count, at, slope};
    const int64_t counted = not_empty(count, at);
    for (int64_t i = 0; i < count * experts; i++) {
        const int64_t rows = at[i / experts + 1] - at[i / experts];
        slope[i] = rows ? scale * fraction[i] / (double)(rows * counted) : 0;
    }
    for (int64_t g = 0; g < count; g++) total += weigh(tape, probs, at[g], at[g + 1], slope + g * experts);
    cot_value_set(out->data, out->dtype, 0, total);
    cot_tape_record(tape, fraction_backward, s, &out, 1);
    return out;
}
