#include "ops/cosine.h"

#include <math.h>

#include "ops/pieces.h"
#include "ops/values.h"

typedef struct {
    cot_tensor *x, *t, *y;
    double      divisor;
    bool        bound;
} cosine_saved;

static double value(const cot_tensor *t, int64_t i) { return cot_value_at(t->data, t->dtype, i); }
static double slope(const cot_tensor *t, int64_t i) { return cot_value_at(t->grad, t->dtype, i); }

static double row_norm(const cot_tensor *x, int64_t row)
{
    const int64_t d = cot_tensor_columns(x);
    double sum = 0;
    for (int64_t i = row * d; i < (row + 1) * d; i++) sum += value(x, i) * value(x, i);
    return sqrt(sum);
}

/* dx = (dy - y <y, dy>) / |x| */
static void unit_backward(cot_tape *tape, void *saved)
{
    const cosine_saved *s = saved;
    const int64_t d = cot_tensor_columns(s->x), rows = cot_tensor_rows(s->x);
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    if (!dx) return;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const double norm = row_norm(s->x, r);
        double along = 0;
        for (int64_t i = r * d; i < (r + 1) * d; i++) along += value(s->y, i) * slope(s->y, i);
        for (int64_t i = r * d; i < (r + 1) * d; i++)
            cot_value_put(dx, s->x->dtype, i, norm > 0 ? (slope(s->y, i) - value(s->y, i) * along) / norm : 0, add);
    }
}

cot_tensor *cot_unit_rows(cot_tape *tape, cot_tensor *x)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *y = cot_tape_tensor(tape, cot_tape_real(tape), x->rank, x->shape, x->needs_grad);
    cosine_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (cosine_saved){.x = x, .y = y};
    const int64_t d = cot_tensor_columns(x), rows = cot_tensor_rows(x);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const double norm = row_norm(x, r);
        for (int64_t i = r * d; i < (r + 1) * d; i++)
            cot_value_set(y->data, y->dtype, i, norm > 0 ? value(x, i) / norm : 0);
    }
    cot_tape_record(tape, unit_backward, s, &y, 1);
    return y;
}

static void temperature_backward(cot_tape *tape, void *saved)
{
    const cosine_saved *s = saved;
    const int64_t count = cot_tensor_count(s->x);
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    for (int64_t i = 0; dx && i < count; i++) cot_value_put(dx, s->x->dtype, i, slope(s->y, i) / s->divisor, add);
    void *dt = cot_tape_grad(tape, s->t, &add);
    double sum = 0;
    for (int64_t i = 0; dt && !s->bound && i < count; i++) sum -= slope(s->y, i) * value(s->y, i);
    if (dt) cot_value_put(dt, s->t->dtype, 0, sum, add);
}

cot_tensor *cot_over_temperature(cot_tape *tape, cot_tensor *x, cot_tensor *t, double start, double least)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *y = cot_tape_tensor(tape, cot_tape_real(tape), x->rank, x->shape, x->needs_grad || t->needs_grad);
    cosine_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    const double temperature = start * exp(value(t, 0));
    *s = (cosine_saved){.x = x, .t = t, .y = y, .divisor = fmax(temperature, least), .bound = temperature < least};
    const int64_t count = cot_tensor_count(x);
    for (int64_t i = 0; i < count; i++) cot_value_set(y->data, y->dtype, i, value(x, i) / s->divisor);
    cot_tape_record(tape, temperature_backward, s, &y, 1);
    return y;
}
