#include "ops/probability_losses.h"

#include <math.h>
#include <string.h>

#include "kernels/gating/gating.h"
#include "ops/pieces.h"
#include "ops/values.h"

/* A loss is a mean over rows of a function of the row, or a function of the mean row. Each has a value and a slope. */
typedef struct loss_state loss_state;
typedef double (*row_value)(const double *row, int64_t experts);
typedef void (*row_slope)(const double *row, int64_t experts, double *slope);

struct loss_state {
    cot_tensor *probs, *out;
    row_slope   slope;
    bool        of_mean;
    double      scale;  /* of the slope, T divided out */
    double     *mean;   /* [E], of_mean */
};

static void read_row(const cot_tensor *probs, int64_t t, double *row)
{
    const int64_t experts = cot_tensor_columns(probs);
    for (int64_t i = 0; i < experts; i++) row[i] = cot_value_at(probs->data, probs->dtype, t * experts + i);
}

static void backward(cot_tape *tape, void *saved)
{
    const loss_state *s = saved;
    const int64_t rows = cot_tensor_rows(s->probs), experts = cot_tensor_columns(s->probs);
    const int64_t pieces = cot_pieces(rows, COT_PIECE_TOKENS);
    const double seed = s->scale * cot_value_at(s->out->grad, s->out->dtype, 0);
    const size_t mark = cot_tape_scratch_mark(tape);
    bool add = false;
    void *dp = cot_tape_grad(tape, s->probs, &add);
    double *room = cot_tape_scratch(tape, (size_t)(pieces * 2 * experts) * sizeof *room);
    if (!dp || !room) return;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        double *row = room + p * 2 * experts, *slope = row + experts;
        if (s->of_mean) s->slope(s->mean, experts, slope);
        for (int64_t t = p * COT_PIECE_TOKENS; t < cot_piece_end(p, COT_PIECE_TOKENS, rows); t++) {
            read_row(s->probs, t, row);
            if (!s->of_mean) s->slope(row, experts, slope);
            for (int64_t i = 0; i < experts; i++) cot_value_put(dp, s->probs->dtype, t * experts + i, seed * slope[i], add);
        }
    }
    cot_tape_scratch_release(tape, mark);
}

/* mean[i] of all rows; sums of pieces are added in order. */
static void fill_mean(cot_tape *tape, const cot_tensor *probs, double *mean)
{
    const cot_gating_kernels *kernels = cot_gating_kernels_for(cot_tape_mode(tape));
    const int64_t rows = cot_tensor_rows(probs), experts = cot_tensor_columns(probs), each = cot_sum_piece_rows(rows);
    memset(mean, 0, (size_t)experts * sizeof *mean);
    for (int64_t r = 0; r < rows; r += each)
        kernels->column_sum(r, r + each < rows ? r + each : rows, experts, probs->data, mean);
    for (int64_t i = 0; i < experts; i++) mean[i] /= (double)rows;
}

static double mean_of_rows(const cot_tensor *probs, row_value value, double *row)
{
    const int64_t rows = cot_tensor_rows(probs);
    double sum = 0;
    for (int64_t t = 0; t < rows; t++) {
        read_row(probs, t, row);
        sum += value(row, cot_tensor_columns(probs));
    }
    return sum / (double)rows;
}

/* out = scale * the loss, or scale * max(0, loss) with `floor`. */
static cot_tensor *go(cot_tape *tape, cot_tensor *probs, row_value value, row_slope slope, bool of_mean, double shift,
                      bool floor, double scale)
{
    const int64_t rows = cot_tensor_rows(probs), experts = cot_tensor_columns(probs);
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *out = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){1}, probs->needs_grad);
    loss_state *s = cot_tape_alloc(tape, sizeof *s);
    double *mean = cot_tape_alloc(tape, (size_t)experts * sizeof *mean), loss = 0;
    if (cot_tape_failed(tape)) return out;
    if (rows && of_mean) {
        fill_mean(tape, probs, mean);
        loss = shift + value(mean, experts);
    } else if (rows) loss = shift + mean_of_rows(probs, value, mean);
    const bool flat = rows == 0 || (floor && loss <= 0);
    *s = (loss_state){probs, out, slope, of_mean, flat ? 0 : scale / (double)rows, mean};
    cot_value_set(out->data, out->dtype, 0, flat ? 0 : scale * loss);
    cot_tape_record(tape, backward, s, &out, 1);
    return out;
}

/* ---- entropies; 0 ln 0 = 0, and what has no probability has no slope ---- */

static double negative_entropy(const double *p, int64_t experts)
{
    double sum = 0;
    for (int64_t i = 0; i < experts; i++) sum += p[i] > 0 ? p[i] * log(p[i]) : 0;
    return sum;
}
static void negative_entropy_slope(const double *p, int64_t experts, double *slope)
{
    for (int64_t i = 0; i < experts; i++) slope[i] = p[i] > 0 ? log(p[i]) + 1 : 0;
}

cot_tensor *cot_mean_entropy(cot_tape *tape, cot_tensor *probs, double scale)
{
    return go(tape, probs, negative_entropy, negative_entropy_slope, false, 0, false, -scale);
}

cot_tensor *cot_entropy_below(cot_tape *tape, cot_tensor *probs, double limit, double scale)
{
    const bool bound = limit < INFINITY;
    return go(tape, probs, negative_entropy, negative_entropy_slope, true, bound ? limit : 0, bound, scale);
}

/* ---- SpeechMoE's ---- */

static void norms(const double *p, int64_t experts, double *one, double *two)
{
    *one = *two = 0;
    for (int64_t i = 0; i < experts; i++) *one += p[i], *two += p[i] * p[i];
    *two = sqrt(*two);
}
static double unit_l1(const double *p, int64_t experts)
{
    double one, two;
    norms(p, experts, &one, &two);
    return two > 0 ? one / two : 0;
}
/* (1 - S u_i) / |p|, u = p / |p|, S = sum of u */
static void unit_l1_slope(const double *p, int64_t experts, double *slope)
{
    double one, two;
    norms(p, experts, &one, &two);
    for (int64_t i = 0; i < experts; i++) slope[i] = two > 0 ? (1 - one * p[i] / (two * two)) / two : 0;
}

cot_tensor *cot_mean_unit_l1(cot_tape *tape, cot_tensor *probs, double scale)
{
    return go(tape, probs, unit_l1, unit_l1_slope, false, 0, false, scale);
}

static double square_of_mean(const double *m, int64_t experts)
{
    double sum = 0;
    for (int64_t i = 0; i < experts; i++) sum += (double)experts * m[i] * m[i];
    return sum;
}
static void square_of_mean_slope(const double *m, int64_t experts, double *slope)
{
    for (int64_t i = 0; i < experts; i++) slope[i] = 2 * (double)experts * m[i];
}

cot_tensor *cot_square_of_mean(cot_tape *tape, cot_tensor *probs, double scale)
{
    return go(tape, probs, square_of_mean, square_of_mean_slope, true, 0, false, scale);
}
