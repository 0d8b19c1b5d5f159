#include "ops/soft_slots.h"

#include <math.h>
#include <string.h>

#include "base/threads.h"
#include "ops/values.h"

typedef struct {
    cot_tensor   *a, *weight, *out, *residual;  /* a: logits, or what is mixed */
    cot_soft_runs runs;
} slots_saved;

static double value(const cot_tensor *t, int64_t i) { return cot_value_at(t->data, t->dtype, i); }
static double slope(const cot_tensor *t, int64_t i) { return cot_value_at(t->grad, t->dtype, i); }
static int64_t row_of(const cot_soft_runs *runs, int64_t t) { return runs->row ? runs->row[t] : t; }

static slots_saved *saved_for(cot_tape *tape, slots_saved saved)
{
    slots_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (s) *s = saved;
    return s;
}

/* ---- the softmax over tokens ---- */

static void softmax_column(const cot_tensor *logits, int64_t from, int64_t to, int64_t s, cot_tensor *out)
{
    const int64_t slots = cot_tensor_columns(logits);
    double largest = -INFINITY, sum = 0;
    for (int64_t t = from; t < to; t++) largest = fmax(largest, value(logits, t * slots + s));
    for (int64_t t = from; t < to; t++) sum += largest > -INFINITY ? exp(value(logits, t * slots + s) - largest) : 0;
    for (int64_t t = from; t < to; t++)
        cot_value_set(out->data, out->dtype, t * slots + s, sum > 0 ? exp(value(logits, t * slots + s) - largest) / sum : 0);
}

/* dh_t = d_t (dd_t - sum over tokens of d dd) */
static void softmax_backward(cot_tape *tape, void *saved)
{
    const slots_saved *s = saved;
    const int64_t slots = cot_tensor_columns(s->out);
    bool add = false;
    void *dh = cot_tape_grad(tape, s->a, &add);
    if (!dh) return;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < s->runs.runs * slots; i++) {
        const int64_t from = s->runs.offset[i / slots], to = s->runs.offset[i / slots + 1], c = i % slots;
        double mean = 0;
        for (int64_t t = from; t < to; t++) mean += value(s->out, t * slots + c) * slope(s->out, t * slots + c);
        for (int64_t t = from; t < to; t++)
            cot_value_put(dh, s->a->dtype, t * slots + c, value(s->out, t * slots + c) * (slope(s->out, t * slots + c) - mean), add);
    }
}

cot_tensor *cot_slot_softmax(cot_tape *tape, cot_tensor *logits, const cot_soft_runs *runs)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const int64_t slots = cot_tensor_columns(logits);
    cot_tensor *out = cot_tape_matrix(tape, logits->dtype, cot_tensor_rows(logits), slots, logits->needs_grad);
    slots_saved *s = saved_for(tape, (slots_saved){.a = logits, .out = out, .runs = *runs});
    if (cot_tape_failed(tape)) return out;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < runs->runs * slots; i++)
        softmax_column(logits, runs->offset[i / slots], runs->offset[i / slots + 1], i % slots, out);
    cot_tape_record(tape, softmax_backward, s, &out, 1);
    return out;
}

/* ---- sums over an expert's slots ---- */

static void shares_backward(cot_tape *tape, void *saved)
{
    const slots_saved *s = saved;
    const int64_t each = cot_tensor_columns(s->a) / cot_tensor_columns(s->out);
    bool add = false;
    void *da = cot_tape_grad(tape, s->a, &add);
    for (int64_t i = 0; da && i < cot_tensor_count(s->a); i++) cot_value_put(da, s->a->dtype, i, slope(s->out, i / each), add);
}

cot_tensor *cot_slot_shares(cot_tape *tape, cot_tensor *weight, int64_t experts)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const int64_t rows = cot_tensor_rows(weight), each = cot_tensor_columns(weight) / experts;
    cot_tensor *out = cot_tape_matrix(tape, weight->dtype, rows, experts, weight->needs_grad);
    slots_saved *s = saved_for(tape, (slots_saved){.a = weight, .out = out});
    if (cot_tape_failed(tape)) return out;
    for (int64_t i = 0; i < rows * experts; i++) {
        double sum = 0;
        for (int64_t j = 0; j < each; j++) sum += value(weight, i * each + j);
        cot_value_set(out->data, out->dtype, i, sum);
    }
    cot_tape_record(tape, shares_backward, s, &out, 1);
    return out;
}

/* ---- mixing: runs by themselves, so that sums do not depend on threads ---- */

/* to[i] += weight * from[i], whatever the types. */
static void add_row(double weight, const void *from, cot_dtype from_type, int64_t f0, double *to, int64_t width)
{
    if (weight == 0) return;
    for (int64_t i = 0; i < width; i++) to[i] += weight * cot_value_at(from, from_type, f0 + i);
}

static void put_row(const double *from, void *to, cot_dtype type, int64_t t0, int64_t width, bool add)
{
    for (int64_t i = 0; i < width; i++) cot_value_put(to, type, t0 + i, from[i], add);
}

static double dot(const void *a, cot_dtype a_type, int64_t a0, const void *b, cot_dtype b_type, int64_t b0, int64_t width)
{
    double sum = 0;
    for (int64_t i = 0; i < width; i++) sum += cot_value_at(a, a_type, a0 + i) * cot_value_at(b, b_type, b0 + i);
    return sum;
}

/* One row of doubles for each run, zeroed by whoever uses it. */
static double *rows_of_sums(cot_tape *tape, const cot_soft_runs *runs, int64_t width)
{
    return cot_tape_scratch(tape, (size_t)(runs->runs * width) * sizeof(double));
}

/* Slots of run g from rows (values or gradients) of tokens. */
static void tokens_to_slots(const slots_saved *s, int64_t g, const void *rows, cot_dtype type, double *sum, void *slots, cot_dtype slots_type, bool add)
{
    const int64_t count = cot_tensor_columns(s->weight), width = cot_tensor_columns(s->out);
    for (int64_t c = 0; c < count; c++) {
        memset(sum, 0, (size_t)width * sizeof *sum);
        for (int64_t t = s->runs.offset[g]; t < s->runs.offset[g + 1]; t++)
            add_row(value(s->weight, t * count + c), rows, type, row_of(&s->runs, t) * width, sum, width);
        put_row(sum, slots, slots_type, (g * count + c) * width, width, add);
    }
}

/* And back: rows of tokens += from slots. */
static void slots_to_tokens(const slots_saved *s, int64_t g, const void *slots, cot_dtype type, double *sum, void *rows, cot_dtype rows_type)
{
    const int64_t count = cot_tensor_columns(s->weight), width = cot_tensor_columns(s->out);
    for (int64_t t = s->runs.offset[g]; t < s->runs.offset[g + 1]; t++) {
        memset(sum, 0, (size_t)width * sizeof *sum);
        for (int64_t c = 0; c < count; c++) add_row(value(s->weight, t * count + c), slots, type, (g * count + c) * width, sum, width);
        put_row(sum, rows, rows_type, row_of(&s->runs, t) * width, width, true);
    }
}

/* d weight[t, c] = <row of token t, slot c> */
static void weight_gradient(const slots_saved *s, int64_t g, const void *rows, cot_dtype rows_type, const void *slots, cot_dtype slots_type,
                            void *dweight, bool add)
{
    const int64_t count = cot_tensor_columns(s->weight), width = cot_tensor_columns(s->out);
    for (int64_t t = s->runs.offset[g]; t < s->runs.offset[g + 1]; t++)
        for (int64_t c = 0; c < count; c++)
            cot_value_put(dweight, s->weight->dtype, t * count + c,
                          dot(rows, rows_type, row_of(&s->runs, t) * width, slots, slots_type, (g * count + c) * width, width), add);
}

/* ---- slots from tokens ---- */

static void from_tokens_backward(cot_tape *tape, void *saved)
{
    const slots_saved *s = saved;
    const size_t mark = cot_tape_scratch_mark(tape);
    const int64_t width = cot_tensor_columns(s->out);
    double *sums = rows_of_sums(tape, &s->runs, width);
    bool add_x = false, add_w = false;
    void *dx = cot_tape_grad(tape, s->a, &add_x), *dw = cot_tape_grad(tape, s->weight, &add_w);
    if (dx && !add_x) memset(dx, 0, (size_t)cot_tensor_count(s->a) * cot_dtype_size(s->a->dtype));
    if (!cot_tape_failed(tape)) {
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
        for (int64_t g = 0; g < s->runs.runs; g++) {
            if (dx) slots_to_tokens(s, g, s->out->grad, s->out->dtype, sums + g * width, dx, s->a->dtype);
            if (dw) weight_gradient(s, g, s->a->data, s->a->dtype, s->out->grad, s->out->dtype, dw, add_w);
        }
    }
    cot_tape_scratch_release(tape, mark);
}

cot_tensor *cot_slots_from_tokens(cot_tape *tape, cot_tensor *x, cot_tensor *dispatch, const cot_soft_runs *runs)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const int64_t width = cot_tensor_columns(x), slots = cot_tensor_columns(dispatch);
    const size_t mark = cot_tape_scratch_mark(tape);
    cot_tensor *out = cot_tape_matrix(tape, x->dtype, runs->runs * slots, width, x->needs_grad || dispatch->needs_grad);
    slots_saved *s = saved_for(tape, (slots_saved){.a = x, .weight = dispatch, .out = out, .runs = *runs});
    double *sums = rows_of_sums(tape, runs, width);
    if (cot_tape_failed(tape)) return out;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t g = 0; g < runs->runs; g++) tokens_to_slots(s, g, x->data, x->dtype, sums + g * width, out->data, out->dtype, false);
    cot_tape_scratch_release(tape, mark);
    cot_tape_record(tape, from_tokens_backward, s, &out, 1);
    return out;
}

/* ---- tokens from slots ---- */

static void from_slots_backward(cot_tape *tape, void *saved)
{
    const slots_saved *s = saved;
    const size_t mark = cot_tape_scratch_mark(tape);
    const int64_t width = cot_tensor_columns(s->out);
    double *sums = rows_of_sums(tape, &s->runs, width);
    bool add_y = false, add_w = false;
    void *dy = cot_tape_grad(tape, s->a, &add_y), *dw = cot_tape_grad(tape, s->weight, &add_w);
    if (!cot_tape_failed(tape)) {
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
        for (int64_t g = 0; g < s->runs.runs; g++) {
            if (dy) tokens_to_slots(s, g, s->out->grad, s->out->dtype, sums + g * width, dy, s->a->dtype, add_y);
            if (dw) weight_gradient(s, g, s->out->grad, s->out->dtype, s->a->data, s->a->dtype, dw, add_w);
        }
    }
    cot_tape_scratch_release(tape, mark);
    cot_tape_grad_pass(tape, s->out, s->residual);
}

cot_tensor *cot_tokens_from_slots(cot_tape *tape, cot_tensor *slots, cot_tensor *combine, const cot_soft_runs *runs, cot_tensor *residual)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const int64_t width = cot_tensor_columns(residual);
    const size_t mark = cot_tape_scratch_mark(tape);
    cot_tensor *out = cot_tape_matrix(tape, residual->dtype, cot_tensor_rows(residual), width,
                                      slots->needs_grad || combine->needs_grad || residual->needs_grad);
    slots_saved *s = saved_for(tape, (slots_saved){.a = slots, .weight = combine, .out = out, .residual = residual, .runs = *runs});
    double *sums = rows_of_sums(tape, runs, width);
    if (cot_tape_failed(tape)) return out;
    memcpy(out->data, residual->data, (size_t)cot_tensor_count(out) * cot_dtype_size(out->dtype));
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t g = 0; g < runs->runs; g++) slots_to_tokens(s, g, slots->data, slots->dtype, sums + g * width, out->data, out->dtype);
    cot_tape_scratch_release(tape, mark);
    cot_tape_record(tape, from_slots_backward, s, &out, 1);
    return out;
}
