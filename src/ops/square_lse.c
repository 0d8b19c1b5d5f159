#include "ops/square_lse.h"

#include <math.h>

#include "kernels/gating/gating.h"
#include "ops/pieces.h"
#include "ops/values.h"

typedef struct {
    cot_tensor *logits, *out;
    void       *lse;   /* [T] real */
    double      scale; /* already divided by T */
} square_saved;

static void square_backward(cot_tape *tape, void *saved_)
{
    const square_saved *s = saved_;
    const cot_gating_kernels *kernels = cot_gating_kernels_for(cot_tape_mode(tape));
    const int64_t experts = cot_tensor_columns(s->logits), rows = cot_tensor_rows(s->logits);
    const int64_t pieces = cot_pieces(rows, COT_PIECE_TOKENS);
    const double factor = 2 * s->scale * cot_value_at(s->out->grad, s->out->dtype, 0);
    bool add = false;
    void *dh = cot_tape_grad(tape, s->logits, &add);
    if (!dh) return;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->z_backward(p * COT_PIECE_TOKENS, cot_piece_end(p, COT_PIECE_TOKENS, rows), experts, factor,
                            s->logits->data, s->lse, dh, add);
}

cot_tensor *cot_square_lse(cot_tape *tape, cot_tensor *logits, double scale)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const cot_dtype real = cot_tape_real(tape);
    const int64_t experts = cot_tensor_columns(logits), rows = cot_tensor_rows(logits);
    const int64_t pieces = cot_pieces(rows, COT_PIECE_TOKENS);
    cot_tensor *out = cot_tape_tensor(tape, real, 1, (const int64_t[]){1}, logits->needs_grad);
    square_saved *s = cot_tape_alloc(tape, sizeof *s);
    void *lse = cot_tape_alloc(tape, (size_t)rows * cot_dtype_size(real));
    if (cot_tape_failed(tape)) return out;
    *s = (square_saved){logits, out, lse, rows ? scale / (double)rows : 0};
    const cot_gating_kernels *kernels = cot_gating_kernels_for(cot_tape_mode(tape));
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->log_sum_exp(p * COT_PIECE_TOKENS, cot_piece_end(p, COT_PIECE_TOKENS, rows), experts, logits->data,
                             lse);
    double sum = 0;
    for (int64_t t = 0; t < rows; t++) {
        const double v = cot_value_at(lse, real, t);
        sum += v > -INFINITY ? v * v : 0;
    }
    cot_value_set(out->data, real, 0, s->scale * sum);
    cot_tape_record(tape, square_backward, s, &out, 1);
    return out;
}
