#include "ops/expert_sublayer.h"

#include <math.h>

#include "base/threads.h"
#include "ops/matmul.h"
#include "ops/values.h"

typedef struct {
    cot_expert_rows rows;
    cot_expert_sublayer_weights w;
    cot_tensor *x, *y;
    double     *mean, *scale;  /* [kept] of each row, and 1 / sqrt(variance + eps) */
    void       *normed;        /* [kept, D] act */
    void       *hidden;        /* [kept, F] act, after the ReLU */
} sublayer_saved;

static double value(const cot_tensor *t, int64_t i) { return cot_value_at(t->data, t->dtype, i); }
static double slope(const cot_tensor *t, int64_t i) { return cot_value_at(t->grad, t->dtype, i); }

static cot_matmul shape_of(const sublayer_saved *s, const cot_tensor *w)
{
    return (cot_matmul){.rows = s->rows.kept, .in = w->shape[2], .out = w->shape[1], .groups = s->rows.experts, .offset = s->rows.offset};
}

static void norm_row(const sublayer_saved *s, cot_dtype act, int64_t e, int64_t r, double eps)
{
    const int64_t D = cot_tensor_columns(s->x);
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < D; c++) sum += value(s->x, r * D + c);
    const double mean = sum / (double)D;
    for (int64_t c = 0; c < D; c++) {
        const double centred = value(s->x, r * D + c) - mean;
        squares += centred * centred;
    }
    s->mean[r] = mean;
    s->scale[r] = 1 / sqrt(squares / (double)D + eps);
    for (int64_t c = 0; c < D; c++)
        cot_value_set(s->normed, act, r * D + c, (value(s->x, r * D + c) - mean) * s->scale[r] * value(s->w.norm, e * D + c) +
                                                     value(s->w.norm_bias, e * D + c));
}

static void norm(const sublayer_saved *s, cot_dtype act, double eps)
{
#pragma omp parallel for num_threads(cot_threads()) schedule(dynamic)
    for (int64_t e = 0; e < s->rows.experts; e++)
        for (int64_t r = s->rows.offset[e]; r < s->rows.offset[e + 1]; r++) norm_row(s, act, e, r, eps);
}

/* Adds the bias and cuts off what is negative. */
static void relu(const sublayer_saved *s, cot_dtype act)
{
    const int64_t F = s->w.up->shape[1];
#pragma omp parallel for num_threads(cot_threads()) schedule(dynamic)
    for (int64_t e = 0; e < s->rows.experts; e++)
        for (int64_t r = s->rows.offset[e]; r < s->rows.offset[e + 1]; r++)
            for (int64_t f = 0; f < F; f++)
                cot_value_set(s->hidden, act, r * F + f,
                              fmax(0, cot_value_at(s->hidden, act, r * F + f) + value(s->w.up_bias, e * F + f)));
}

/* y = x + b_down, to which the second product adds. */
static void start_output(const sublayer_saved *s)
{
    const int64_t D = cot_tensor_columns(s->x);
#pragma omp parallel for num_threads(cot_threads()) schedule(dynamic)
    for (int64_t e = 0; e < s->rows.experts; e++)
        for (int64_t i = s->rows.offset[e] * D; i < s->rows.offset[e + 1] * D; i++)
            cot_value_set(s->y->data, s->y->dtype, i, value(s->x, i) + value(s->w.down_bias, e * D + i % D));
}

/* ---- going back ---- */

/* d bias[e] = sum of dy over the expert's rows; dy [kept, width] of dtype. */
static void back_bias(cot_tape *tape, const sublayer_saved *s, cot_tensor *bias, const void *dy, cot_dtype dtype, int64_t width)
{
    bool add = false;
    void *grad = cot_tape_grad(tape, bias, &add);
    if (!grad) return;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < s->rows.experts * width; i++) {
        double sum = 0;
        for (int64_t r = s->rows.offset[i / width]; r < s->rows.offset[i / width + 1]; r++)
            sum += cot_value_at(dy, dtype, r * width + i % width);
        cot_value_put(grad, bias->dtype, i, sum, add);
    }
}

static double normalised(const sublayer_saved *s, int64_t r, int64_t i) { return (value(s->x, i) - s->mean[r]) * s->scale[r]; }

static void back_norm_weight(cot_tape *tape, const sublayer_saved *s, const void *dn)
{
    bool add = false;
    const int64_t D = cot_tensor_columns(s->x);
    void *grad = cot_tape_grad(tape, s->w.norm, &add);
    if (!grad) return;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < s->rows.experts * D; i++) {
        double sum = 0;
        for (int64_t r = s->rows.offset[i / D]; r < s->rows.offset[i / D + 1]; r++)
            sum += cot_value_at(dn, s->x->dtype, r * D + i % D) * normalised(s, r, r * D + i % D);
        cot_value_put(grad, s->w.norm->dtype, i, sum, add);
    }
}

/* dx (+)= scale * (g - mean(g) - xhat * mean(g xhat)) with g = norm * dn */
static void back_norm_row(const sublayer_saved *s, const void *dn, int64_t e, int64_t r, void *dx, bool add)
{
    const int64_t D = cot_tensor_columns(s->x);
    const cot_dtype real = s->x->dtype;
    double sum = 0, dot = 0;
    for (int64_t c = 0; c < D; c++) {
        const double g = cot_value_at(dn, real, r * D + c) * value(s->w.norm, e * D + c);
        sum += g;
        dot += g * normalised(s, r, r * D + c);
    }
    for (int64_t c = 0; c < D; c++) {
        const double g = cot_value_at(dn, real, r * D + c) * value(s->w.norm, e * D + c);
        cot_value_put(dx, real, r * D + c, s->scale[r] * (g - (sum + dot * normalised(s, r, r * D + c)) / (double)D), add);
    }
}

static void back_norm(cot_tape *tape, const sublayer_saved *s, const void *dn)
{
    bool add = false;
    back_bias(tape, s, s->w.norm_bias, dn, s->x->dtype, cot_tensor_columns(s->x));
    back_norm_weight(tape, s, dn);
    void *dx = cot_tape_grad(tape, s->x, &add);
    if (!dx) return;
#pragma omp parallel for num_threads(cot_threads()) schedule(dynamic)
    for (int64_t e = 0; e < s->rows.experts; e++)
        for (int64_t r = s->rows.offset[e]; r < s->rows.offset[e + 1]; r++) back_norm_row(s, dn, e, r, dx, add);
}

static void back_weight(cot_tape *tape, const sublayer_saved *s, cot_tensor *w, const void *dy, cot_dtype dtype, const void *x)
{
    bool add = false;
    const cot_matmul shape = shape_of(s, w);
    void *grad = cot_tape_grad(tape, w, &add);
    if (grad) cot_matmul_back_weight(tape, &shape, dy, dtype, x, grad, add);
}

static void sublayer_backward(cot_tape *tape, void *saved)
{
    const sublayer_saved *s = saved;
    const cot_dtype act = cot_tape_act(tape), real = s->x->dtype;
    const cot_matmul up = shape_of(s, s->w.up), down = shape_of(s, s->w.down);
    const size_t mark = cot_tape_scratch_mark(tape);
    void *dh = cot_tape_scratch(tape, (size_t)(down.rows * down.in) * cot_dtype_size(act));
    void *dn = cot_tape_scratch(tape, (size_t)(up.rows * up.in) * cot_dtype_size(real));
    if (dn) {
        back_bias(tape, s, s->w.down_bias, s->y->grad, real, down.out);
        back_weight(tape, s, s->w.down, s->y->grad, real, s->hidden);
        cot_matmul_back_input(tape, &down, s->y->grad, real, s->w.down, dh, act, false);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
        for (int64_t i = 0; i < down.rows * down.in; i++)
            if (cot_value_at(s->hidden, act, i) <= 0) cot_value_set(dh, act, i, 0);
        back_bias(tape, s, s->w.up_bias, dh, act, up.out);
        back_weight(tape, s, s->w.up, dh, act, s->normed);
        cot_matmul_back_input(tape, &up, dh, act, s->w.up, dn, real, false);
        back_norm(tape, s, dn);
    }
    cot_tape_scratch_release(tape, mark);
    cot_tape_grad_pass(tape, s->y, s->x);
}

static bool wants_grad(const cot_tensor *x, const cot_expert_sublayer_weights *w)
{
    return x->needs_grad || w->norm->needs_grad || w->norm_bias->needs_grad || w->up->needs_grad || w->up_bias->needs_grad ||
           w->down->needs_grad || w->down_bias->needs_grad;
}

cot_tensor *cot_expert_sublayer(cot_tape *tape, cot_tensor *x, const cot_expert_rows *rows, const cot_expert_sublayer_weights *weights,
                                double eps)
{
    cot_tape_kind(tape, COT_TIME_EXPERTS);
    const cot_dtype act = cot_tape_act(tape);
    const int64_t D = cot_tensor_columns(x);
    cot_tensor *y = cot_tape_matrix(tape, cot_tape_real(tape), rows->kept, D, wants_grad(x, weights));
    sublayer_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (sublayer_saved){.rows = *rows, .w = *weights, .x = x, .y = y};
    s->mean = cot_tape_alloc(tape, (size_t)rows->kept * sizeof *s->mean);
    s->scale = cot_tape_alloc(tape, (size_t)rows->kept * sizeof *s->scale);
    s->normed = cot_tape_alloc(tape, (size_t)(rows->kept * D) * cot_dtype_size(act));
    s->hidden = cot_tape_alloc(tape, (size_t)(rows->kept * weights->up->shape[1]) * cot_dtype_size(act));
    if (cot_tape_failed(tape)) return y;
    const cot_matmul up = shape_of(s, weights->up), down = shape_of(s, weights->down);
    norm(s, act, eps);
    cot_matmul_forward(tape, &up, s->normed, weights->up, s->hidden, act, false);
    relu(s, act);
    start_output(s);
    cot_matmul_forward(tape, &down, s->hidden, weights->down, y->data, y->dtype, true);
    cot_tape_record(tape, sublayer_backward, s, &y, 1);
    return y;
}

/* ---- from tokens to grouped rows and back ---- */

typedef struct {
    cot_expert_rows rows;
    const int64_t  *first;
    cot_tensor     *x, *out;                  /* gather */
    cot_tensor     *last, *start, *residual;  /* combine, which makes out too */
} rows_saved;

static void gather_backward(cot_tape *tape, void *saved)
{
    const rows_saved *s = saved;
    const int64_t D = cot_tensor_columns(s->x);
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    if (!dx) return;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < s->rows.tokens * D; i++) {
        double sum = 0;
        for (int64_t a = s->first[i / D]; a < s->first[i / D + 1]; a++)
            if (s->rows.row_of[a] >= 0) sum += slope(s->out, s->rows.row_of[a] * D + i % D);
        cot_value_put(dx, s->x->dtype, i, sum, add);
    }
}

cot_tensor *cot_expert_rows_gather(cot_tape *tape, cot_tensor *x, const cot_expert_rows *rows, const int64_t *first)
{
    cot_tape_kind(tape, COT_TIME_EXPERTS);
    const int64_t D = cot_tensor_columns(x);
    cot_tensor *out = cot_tape_matrix(tape, cot_tape_real(tape), rows->kept, D, x->needs_grad);
    rows_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return out;
    *s = (rows_saved){.rows = *rows, .first = first, .x = x, .out = out};
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < rows->kept * D; i++)
        cot_value_set(out->data, out->dtype, i, value(x, rows->row_token[i / D] * D + i % D));
    cot_tape_record(tape, gather_backward, s, &out, 1);
    return out;
}

/* d last = gate * dy of the token, d start its negative */
static void back_ends(cot_tape *tape, const rows_saved *s, cot_tensor *end, double sign)
{
    const int64_t D = cot_tensor_columns(end);
    bool add = false;
    void *grad = cot_tape_grad(tape, end, &add);
    if (!grad) return;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < s->rows.kept * D; i++) {
        const double gate = value(s->rows.gate, s->rows.order[i / D]);
        cot_value_put(grad, end->dtype, i, sign * gate * slope(s->out, s->rows.row_token[i / D] * D + i % D), add);
    }
}

static void combine_backward(cot_tape *tape, void *saved)
{
    const rows_saved *s = saved;
    const int64_t D = cot_tensor_columns(s->out);
    bool add = false;
    void *dgate = cot_tape_grad(tape, s->rows.gate, &add);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t a = 0; a < (dgate ? s->rows.assignments : 0); a++) {
        const int64_t at = s->rows.row_of[a] * D, token = s->rows.token[a] * D;
        double sum = 0;
        for (int64_t c = 0; at >= 0 && c < D; c++) sum += slope(s->out, token + c) * (value(s->last, at + c) - value(s->start, at + c));
        cot_value_put(dgate, s->rows.gate->dtype, a, sum, add);
    }
    back_ends(tape, s, s->last, 1);
    back_ends(tape, s, s->start, -1);
    cot_tape_grad_pass(tape, s->out, s->residual);
}

cot_tensor *cot_expert_rows_combine(cot_tape *tape, cot_tensor *last, cot_tensor *start, const cot_expert_rows *rows, const int64_t *first,
                                    cot_tensor *residual)
{
    cot_tape_kind(tape, COT_TIME_EXPERTS);
    const int64_t D = cot_tensor_columns(residual);
    const bool needs_grad = last->needs_grad || start->needs_grad || rows->gate->needs_grad || residual->needs_grad;
    cot_tensor *out = cot_tape_matrix(tape, cot_tape_real(tape), rows->tokens, D, needs_grad);
    rows_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return out;
    *s = (rows_saved){.rows = *rows, .first = first, .out = out, .last = last, .start = start, .residual = residual};
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < rows->tokens * D; i++) {
        double sum = value(residual, i);
        for (int64_t a = first[i / D]; a < first[i / D + 1]; a++) {
            const int64_t at = rows->row_of[a] * D + i % D;
            if (rows->row_of[a] >= 0) sum += value(rows->gate, a) * (value(last, at) - value(start, at));
        }
        cot_value_set(out->data, out->dtype, i, sum);
    }
    cot_tape_record(tape, combine_backward, s, &out, 1);
    return out;
}
