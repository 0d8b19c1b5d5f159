#include "ops/batch_norm.h"

#include <math.h>
#include <string.h>

#include "kernels/batch_norm/batch_norm.h"
#include "ops/pieces.h"
#include "ops/values.h"

typedef struct {
    cot_tensor    *x, *gamma, *beta, *y;
    const uint8_t *skip;
    int64_t        counted;    /* rows behind the statistics; 0 = running ones */
    double        *mean, *variance, *rstd;  /* [C] */
} norm_saved;

/* What run(piece's rows, sums of the piece) adds up over all rows: pieces in parallel, then in order. */
typedef void (*piece_sums)(const norm_saved *s, const cot_batch_norm_kernels *kernels, int64_t r0, int64_t r1, double *sums);

static void add_up(cot_tape *tape, const norm_saved *s, int64_t width, piece_sums run, double *out)
{
    const cot_batch_norm_kernels *kernels = cot_batch_norm_kernels_for(cot_tape_mode(tape));
    const int64_t rows = cot_tensor_rows(s->x), each = cot_sum_piece_rows(rows), pieces = cot_pieces(rows, each);
    const size_t mark = cot_tape_scratch_mark(tape), bytes = (size_t)(pieces * width) * sizeof(double);
    double *partial = cot_tape_scratch(tape, bytes);
    if (!partial) return;
    memset(partial, 0, bytes);
    memset(out, 0, (size_t)width * sizeof *out);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) run(s, kernels, p * each, cot_piece_end(p, each, rows), partial + p * width);
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t i = 0; i < width; i++) out[i] += partial[p * width + i];
    cot_tape_scratch_release(tape, mark);
}

static void sum_columns(const norm_saved *s, const cot_batch_norm_kernels *kernels, int64_t r0, int64_t r1, double *sums)
{
    kernels->sums(r0, r1, cot_tensor_columns(s->x), s->x->data, s->skip, sums);
}

static void sum_squares(const norm_saved *s, const cot_batch_norm_kernels *kernels, int64_t r0, int64_t r1, double *sums)
{
    kernels->squares(r0, r1, cot_tensor_columns(s->x), s->x->data, s->skip, s->mean, sums);
}

static void sum_gradients(const norm_saved *s, const cot_batch_norm_kernels *kernels, int64_t r0, int64_t r1, double *sums)
{
    const int64_t c = cot_tensor_columns(s->x);
    kernels->back_sums(r0, r1, c, s->x->data, s->y->grad, s->mean, s->rstd, sums, sums + c);
}

static int64_t count_rows(const norm_saved *s)
{
    int64_t count = 0;
    for (int64_t r = 0; r < cot_tensor_rows(s->x); r++) count += !(s->skip && s->skip[r]);
    return count;
}

static void measure(cot_tape *tape, norm_saved *s)
{
    const int64_t c = cot_tensor_columns(s->x);
    add_up(tape, s, c, sum_columns, s->mean);
    for (int64_t i = 0; i < c; i++) s->mean[i] /= (double)s->counted;
    add_up(tape, s, c, sum_squares, s->variance);
    for (int64_t i = 0; i < c; i++) s->variance[i] /= (double)s->counted;
}

static void back_parameters(cot_tape *tape, const norm_saved *s, const double *sums)
{
    const int64_t c = cot_tensor_columns(s->x);
    bool add_gamma = false, add_beta = false;
    void *dgamma = cot_tape_grad(tape, s->gamma, &add_gamma), *dbeta = cot_tape_grad(tape, s->beta, &add_beta);
    for (int64_t i = 0; dgamma && i < c; i++) cot_value_put(dgamma, s->gamma->dtype, i, sums[c + i], add_gamma);
    for (int64_t i = 0; dbeta && i < c; i++) cot_value_put(dbeta, s->beta->dtype, i, sums[i], add_beta);
}

static void norm_backward(cot_tape *tape, void *saved_)
{
    const norm_saved *s = saved_;
    const cot_batch_norm_kernels *kernels = cot_batch_norm_kernels_for(cot_tape_mode(tape));
    const int64_t c = cot_tensor_columns(s->x), rows = cot_tensor_rows(s->x), pieces = cot_pieces(rows, COT_PIECE_ROWS);
    const size_t mark = cot_tape_scratch_mark(tape);
    bool accumulate = false;
    double *sums = cot_tape_scratch(tape, (size_t)(2 * c) * sizeof *sums);
    void *dx = cot_tape_grad(tape, s->x, &accumulate);
    if (!sums) return;
    add_up(tape, s, 2 * c, sum_gradients, sums);
    back_parameters(tape, s, sums);
    for (int64_t i = 0; i < 2 * c; i++) sums[i] = s->counted ? sums[i] / (double)s->counted : 0;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < (dx ? pieces : 0); p++)
        kernels->back_apply(p * COT_PIECE_ROWS, cot_piece_end(p, COT_PIECE_ROWS, rows), c, s->x->data, s->skip, s->y->grad,
                            s->mean, s->rstd, s->gamma->data, sums, sums + c, dx, accumulate);
    cot_tape_scratch_release(tape, mark);
}

static void apply(cot_tape *tape, norm_saved *s, double eps)
{
    const cot_batch_norm_kernels *kernels = cot_batch_norm_kernels_for(cot_tape_mode(tape));
    const int64_t c = cot_tensor_columns(s->x), rows = cot_tensor_rows(s->x), pieces = cot_pieces(rows, COT_PIECE_ROWS);
    for (int64_t i = 0; i < c; i++) s->rstd[i] = 1 / sqrt(s->variance[i] + eps);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->apply(p * COT_PIECE_ROWS, cot_piece_end(p, COT_PIECE_ROWS, rows), c, s->x->data, s->mean, s->rstd,
                       s->gamma->data, s->beta->data, s->y->data);
}

cot_tensor *cot_batch_norm(cot_tape *tape, cot_tensor *x, cot_tensor *gamma, cot_tensor *beta, const uint8_t *skip,
                           const cot_param *running_mean, const cot_param *running_variance, double eps,
                           cot_batch_moments *seen)
{
    cot_tape_kind(tape, COT_TIME_ELEMENTWISE);
    const int64_t c = cot_tensor_columns(x);
    cot_tensor *y = cot_tape_matrix(tape, cot_tape_real(tape), cot_tensor_rows(x), c,
                                    x->needs_grad || gamma->needs_grad || beta->needs_grad);
    norm_saved *s = cot_tape_alloc(tape, sizeof *s);
    double *columns = cot_tape_alloc(tape, (size_t)(3 * c) * sizeof *columns);
    if (cot_tape_failed(tape)) return y;
    *s = (norm_saved){.x = x, .gamma = gamma, .beta = beta, .y = y, .skip = skip,
                      .mean = columns, .variance = columns + c, .rstd = columns + 2 * c};
    s->counted = cot_tape_training(tape) ? count_rows(s) : 0;
    if (s->counted) measure(tape, s);
    for (int64_t i = 0; i < c && !s->counted; i++) {
        s->mean[i] = cot_value_at(running_mean->value.data, running_mean->value.dtype, i);
        s->variance[i] = cot_value_at(running_variance->value.data, running_variance->value.dtype, i);
    }
    if (seen) *seen = (cot_batch_moments){s->counted, s->mean, s->variance};
    apply(tape, s, eps);
    cot_tape_record(tape, norm_backward, s, &y, 1);
    return y;
}
