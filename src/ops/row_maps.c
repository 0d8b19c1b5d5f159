#include "ops/row_maps.h"

#include <math.h>

#include "ops/pieces.h"
#include "ops/values.h"

typedef struct {
    cot_tensor *x, *y;
    double      epsilon;
} map_saved;

static map_saved *begin(cot_tape *tape, cot_tensor *x, cot_tensor **y)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    *y = cot_tape_tensor(tape, cot_tape_real(tape), x->rank, x->shape, x->needs_grad);
    map_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return NULL;
    *s = (map_saved){.x = x, .y = *y};
    return s;
}

static double value(const cot_tensor *t, int64_t i) { return cot_value_at(t->data, t->dtype, i); }
static double slope(const cot_tensor *t, int64_t i) { return cot_value_at(t->grad, t->dtype, i); }

/* ---- logistic ---- */

static void sigmoid_backward(cot_tape *tape, void *saved)
{
    const map_saved *s = saved;
    const int64_t count = cot_tensor_count(s->y);
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    if (!dx) return;
#pragma omp parallel for if (count > COT_PIECE_ELEMENTS) num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < count; i++) {
        const double y = value(s->y, i);
        cot_value_put(dx, s->x->dtype, i, slope(s->y, i) * y * (1 - y), add);
    }
}

cot_tensor *cot_sigmoid(cot_tape *tape, cot_tensor *x)
{
    cot_tensor *y;
    map_saved *s = begin(tape, x, &y);
    if (!s) return y;
    const int64_t count = cot_tensor_count(x);
#pragma omp parallel for if (count > COT_PIECE_ELEMENTS) num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < count; i++) cot_value_set(y->data, y->dtype, i, 1 / (1 + exp(-value(x, i))));
    cot_tape_record(tape, sigmoid_backward, s, &y, 1);
    return y;
}

/* ---- rectifier ---- */

static void relu_backward(cot_tape *tape, void *saved)
{
    const map_saved *s = saved;
    const int64_t count = cot_tensor_count(s->y);
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    if (!dx) return;
#pragma omp parallel for if (count > COT_PIECE_ELEMENTS) num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < count; i++) cot_value_put(dx, s->x->dtype, i, value(s->y, i) > 0 ? slope(s->y, i) : 0, add);
}

cot_tensor *cot_relu(cot_tape *tape, cot_tensor *x)
{
    cot_tensor *y;
    map_saved *s = begin(tape, x, &y);
    if (!s) return y;
    const int64_t count = cot_tensor_count(x);
#pragma omp parallel for if (count > COT_PIECE_ELEMENTS) num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < count; i++) cot_value_set(y->data, y->dtype, i, fmax(value(x, i), 0));
    cot_tape_record(tape, relu_backward, s, &y, 1);
    return y;
}

/* ---- rows that sum to one ---- */

/* The row's sum + epsilon, or 0 for a row of nothing. */
static double divisor(const map_saved *s, int64_t row)
{
    const int64_t columns = cot_tensor_columns(s->x);
    double sum = 0;
    for (int64_t i = row * columns; i < (row + 1) * columns; i++) sum += value(s->x, i);
    return sum == 0 ? 0 : sum + s->epsilon;
}

/* dx = (dy - <dy, y>) / divisor */
static void normalise_backward(cot_tape *tape, void *saved)
{
    const map_saved *s = saved;
    const int64_t rows = cot_tensor_rows(s->x), columns = cot_tensor_columns(s->x);
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    for (int64_t r = 0; dx && r < rows; r++) {
        const double below = divisor(s, r);
        double mean = 0;
        for (int64_t i = r * columns; i < (r + 1) * columns; i++) mean += slope(s->y, i) * value(s->y, i);
        for (int64_t i = r * columns; i < (r + 1) * columns; i++)
            cot_value_put(dx, s->x->dtype, i, below == 0 ? 0 : (slope(s->y, i) - mean) / below, add);
    }
}

cot_tensor *cot_normalise_rows(cot_tape *tape, cot_tensor *x, double epsilon)
{
    cot_tensor *y;
    map_saved *s = begin(tape, x, &y);
    if (!s) return y;
    s->epsilon = epsilon;
    const int64_t rows = cot_tensor_rows(x), columns = cot_tensor_columns(x);
    for (int64_t r = 0; r < rows; r++) {
        const double below = divisor(s, r);
        for (int64_t i = r * columns; i < (r + 1) * columns; i++)
            cot_value_set(y->data, y->dtype, i, below == 0 ? 0 : value(x, i) / below);
    }
    cot_tape_record(tape, normalise_backward, s, &y, 1);
    return y;
}

/* ---- another shape ---- */

static void reshape_backward(cot_tape *tape, void *saved)
{
    const map_saved *s = saved;
    cot_tape_grad_pass(tape, s->y, s->x);
}

cot_tensor *cot_reshape(cot_tape *tape, cot_tensor *x, int32_t rank, const int64_t *shape)
{
    cot_tensor *y = cot_tape_wrap(tape, x->dtype, rank, shape, x->data, x->needs_grad);
    map_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (map_saved){.x = x, .y = y};
    cot_tape_record(tape, reshape_backward, s, &y, 1);
    return y;
}
