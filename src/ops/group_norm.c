#include "ops/group_norm.h"

#include <math.h>
#include <string.h>

#include "ops/pieces.h"
#include "ops/values.h"

typedef struct {
    cot_tensor *x, *gamma, *beta, *y;
    int64_t     groups, width;
    double     *mean, *rstd;  /* [T * groups] */
} norm_saved;

static double value(const cot_tensor *t, int64_t i) { return cot_value_at(t->data, t->dtype, i); }
static double slope(const cot_tensor *t, int64_t i) { return cot_value_at(t->grad, t->dtype, i); }

/* Group g of all rows: its moments, its part of y. */
static void normalise(const norm_saved *s, int64_t g, double eps)
{
    const int64_t from = g * s->width, column = g % s->groups * s->width;
    double mean = 0, squares = 0;
    for (int64_t i = 0; s->beta && i < s->width; i++) mean += value(s->x, from + i) / (double)s->width;
    for (int64_t i = 0; i < s->width; i++) squares += (value(s->x, from + i) - mean) * (value(s->x, from + i) - mean);
    const double rstd = 1 / sqrt(squares / (double)s->width + eps);
    for (int64_t i = 0; i < s->width; i++) {
        const double shift = s->beta ? value(s->beta, column + i) : 0;
        cot_value_set(s->y->data, s->y->dtype, from + i, (value(s->x, from + i) - mean) * rstd * value(s->gamma, column + i) + shift);
    }
    s->mean[g] = mean;
    s->rstd[g] = rstd;
}

/* dx = rstd (d - mean(d) - z mean(d z)) with z the normed value and d = dy gamma; mean(d) for layer norm alone. */
static void back_group(const norm_saved *s, int64_t g, void *dx, bool accumulate, double *dgamma, double *dbeta)
{
    const int64_t from = g * s->width, column = g % s->groups * s->width;
    double sum = 0, along = 0;
    for (int64_t i = 0; i < s->width; i++) {
        const double dy = slope(s->y, from + i), z = (value(s->x, from + i) - s->mean[g]) * s->rstd[g];
        const double d = dy * value(s->gamma, column + i);
        dgamma[column + i] += dy * z;
        dbeta[column + i] += dy;
        if (s->beta) sum += d / (double)s->width;
        along += d * z / (double)s->width;
    }
    for (int64_t i = 0; dx && i < s->width; i++) {
        const double z = (value(s->x, from + i) - s->mean[g]) * s->rstd[g];
        const double d = slope(s->y, from + i) * value(s->gamma, column + i);
        cot_value_put(dx, s->x->dtype, from + i, s->rstd[g] * (d - sum - z * along), accumulate);
    }
}

static void put_sums(cot_tape *tape, cot_tensor *parameter, const double *sums)
{
    bool add = false;
    void *grad = parameter ? cot_tape_grad(tape, parameter, &add) : NULL;
    for (int64_t i = 0; grad && i < cot_tensor_count(parameter); i++) cot_value_put(grad, parameter->dtype, i, sums[i], add);
}

static void norm_backward(cot_tape *tape, void *saved_)
{
    const norm_saved *s = saved_;
    const int64_t c = cot_tensor_columns(s->x), rows = cot_tensor_rows(s->x), each = cot_sum_piece_rows(rows), pieces = cot_pieces(rows, each);
    const size_t mark = cot_tape_scratch_mark(tape), bytes = (size_t)((pieces + 1) * 2 * c) * sizeof(double);
    bool accumulate = false;
    double *sums = cot_tape_scratch(tape, bytes);
    void *dx = cot_tape_grad(tape, s->x, &accumulate);
    if (cot_tape_failed(tape)) return;
    memset(sums, 0, bytes);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t g = p * each * s->groups; g < cot_piece_end(p, each, rows) * s->groups; g++)
            back_group(s, g, dx, accumulate, sums + (p + 1) * 2 * c, sums + (p + 1) * 2 * c + c);
    for (int64_t p = 1; p <= pieces; p++)
        for (int64_t i = 0; i < 2 * c; i++) sums[i] += sums[p * 2 * c + i];
    put_sums(tape, s->gamma, sums);
    put_sums(tape, s->beta, sums + c);
    cot_tape_scratch_release(tape, mark);
}

cot_tensor *cot_group_norm(cot_tape *tape, cot_tensor *x, cot_tensor *gamma, cot_tensor *beta, int64_t groups, double eps)
{
    cot_tape_kind(tape, COT_TIME_ELEMENTWISE);
    const int64_t count = cot_tensor_rows(x) * groups, pieces = cot_pieces(count, COT_PIECE_ROWS);
    cot_tensor *y = cot_tape_matrix(tape, cot_tape_real(tape), cot_tensor_rows(x), cot_tensor_columns(x),
                                    x->needs_grad || gamma->needs_grad || (beta && beta->needs_grad));
    norm_saved *s = cot_tape_alloc(tape, sizeof *s);
    double *moments = cot_tape_alloc(tape, (size_t)(2 * count) * sizeof *moments);
    if (cot_tape_failed(tape)) return y;
    *s = (norm_saved){.x = x, .gamma = gamma, .beta = beta, .y = y, .groups = groups, .width = cot_tensor_columns(x) / groups,
                      .mean = moments, .rstd = moments + count};
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t g = p * COT_PIECE_ROWS; g < cot_piece_end(p, COT_PIECE_ROWS, count); g++) normalise(s, g, eps);
    cot_tape_record(tape, norm_backward, s, &y, 1);
    return y;
}
