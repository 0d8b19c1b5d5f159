#include "ops/symmetric_kl.h"

#include <math.h>

#include "base/threads.h"
#include "ops/values.h"

typedef struct {
    cot_tensor    *a, *b, *out;
    const int32_t *target;
    double         weight;
} kl_saved;

static double value(const cot_tensor *t, int64_t i) { return cot_value_at(t->data, t->dtype, i); }

static double log_sum(const cot_tensor *t, int64_t row)
{
    const int64_t width = cot_tensor_columns(t);
    double largest = -INFINITY, sum = 0;
    for (int64_t i = row * width; i < (row + 1) * width; i++) largest = fmax(largest, value(t, i));
    for (int64_t i = row * width; i < (row + 1) * width; i++) sum += exp(value(t, i) - largest);
    return largest + log(sum);
}

/* sum of (p - q) (ln p - ln q) / 2 */
static double row_distance(const kl_saved *s, int64_t row)
{
    const int64_t width = cot_tensor_columns(s->a);
    const double za = log_sum(s->a, row), zb = log_sum(s->b, row);
    double sum = 0;
    for (int64_t i = row * width; i < (row + 1) * width; i++) {
        const double p = value(s->a, i) - za, q = value(s->b, i) - zb;
        sum += (exp(p) - exp(q)) * (p - q) / 2;
    }
    return sum;
}

/* With u = ln p - ln q:  d/da = (p (u - E_p u) + p - q) / 2,  d/db = (q (E_q u - u) + q - p) / 2. */
static void row_gradient(const kl_saved *s, int64_t row, double scale, void *da, bool add_a, void *db, bool add_b)
{
    const int64_t width = cot_tensor_columns(s->a);
    const double za = log_sum(s->a, row), zb = log_sum(s->b, row);
    double mean_a = 0, mean_b = 0;
    for (int64_t i = row * width; i < (row + 1) * width; i++) {
        const double p = value(s->a, i) - za, q = value(s->b, i) - zb;
        mean_a += exp(p) * (p - q);
        mean_b += exp(q) * (p - q);
    }
    for (int64_t i = row * width; i < (row + 1) * width; i++) {
        const double lp = value(s->a, i) - za, lq = value(s->b, i) - zb, p = exp(lp), q = exp(lq);
        if (da) cot_value_put(da, s->a->dtype, i, scale * (p * (lp - lq - mean_a) + p - q) / 2, add_a);
        if (db) cot_value_put(db, s->b->dtype, i, scale * (q * (mean_b - lp + lq) + q - p) / 2, add_b);
    }
}

static void kl_backward(cot_tape *tape, void *saved)
{
    const kl_saved *s = saved;
    const double scale = s->weight * cot_value_at(s->out->grad, s->out->dtype, 0);
    bool add_a = false, add_b = false;
    void *da = cot_tape_grad(tape, s->a, &add_a), *db = cot_tape_grad(tape, s->b, &add_b);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t t = 0; t < cot_tensor_rows(s->a); t++) row_gradient(s, t, s->target[t] >= 0 ? scale : 0, da, add_a, db, add_b);
}

cot_tensor *cot_symmetric_kl(cot_tape *tape, cot_tensor *a, cot_tensor *b, const int32_t *target, double weight)
{
    cot_tape_kind(tape, COT_TIME_LOSS);
    const int64_t rows = a->shape[0];
    const size_t mark = cot_tape_scratch_mark(tape);
    cot_tensor *out = cot_tape_tensor(tape, a->dtype, 1, (const int64_t[]){1}, a->needs_grad || b->needs_grad);
    kl_saved *s = cot_tape_alloc(tape, sizeof *s);
    double *each = cot_tape_scratch(tape, (size_t)rows * sizeof *each), sum = 0;
    if (cot_tape_failed(tape)) return out;
    *s = (kl_saved){a, b, out, target, weight};
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t t = 0; t < rows; t++) each[t] = target[t] >= 0 ? row_distance(s, t) : 0;
    for (int64_t t = 0; t < rows; t++) sum += each[t];
    cot_tape_scratch_release(tape, mark);
    cot_value_set(out->data, out->dtype, 0, weight * sum);
    cot_tape_record(tape, kl_backward, s, &out, 1);
    return out;
}
