#include "ops/cosine.h"

#include <math.h>

#include "kernels/cosine/cosine.h"
#include "ops/pieces.h"
#include "ops/values.h"

typedef struct {
    cot_tensor *x, *y;
    void       *length;  /* [T] real */
} unit_saved;

typedef struct {
    cot_tensor *x, *t, *y;
    double      divisor;
    bool        bound;
} temperature_saved;

static bool is_act(const cot_tape *tape, const cot_tensor *x) { return x->dtype != cot_tape_real(tape); }

static void unit_backward(cot_tape *tape, void *saved)
{
    const unit_saved *s = saved;
    const cot_cosine_kernels *kernels = cot_cosine_kernels_for(cot_tape_mode(tape));
    const int64_t d = cot_tensor_columns(s->x), rows = cot_tensor_rows(s->x), pieces = cot_pieces(rows, COT_PIECE_ROWS);
    const bool act = is_act(tape, s->x);
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    if (!dx) return;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->unit_backward(p * COT_PIECE_ROWS, cot_piece_end(p, COT_PIECE_ROWS, rows), d, s->y->data, s->y->grad, s->length, dx, act, add);
}

cot_tensor *cot_unit_rows(cot_tape *tape, cot_tensor *x)
{
    const int64_t d = cot_tensor_columns(x), rows = cot_tensor_rows(x), pieces = cot_pieces(rows, COT_PIECE_ROWS);
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *y = cot_tape_tensor(tape, cot_tape_real(tape), x->rank, x->shape, x->needs_grad);
    unit_saved *s = cot_tape_alloc(tape, sizeof *s);
    void *length = cot_tape_alloc(tape, (size_t)rows * cot_dtype_size(cot_tape_real(tape)));
    if (cot_tape_failed(tape)) return y;
    *s = (unit_saved){x, y, length};
    const cot_cosine_kernels *kernels = cot_cosine_kernels_for(cot_tape_mode(tape));
    const bool act = is_act(tape, x);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->unit(p * COT_PIECE_ROWS, cot_piece_end(p, COT_PIECE_ROWS, rows), d, x->data, act, y->data, length);
    cot_tape_record(tape, unit_backward, s, &y, 1);
    return y;
}

/* y (+)= x / divisor */
static void divide(const cot_cosine_kernels *kernels, int64_t count, double divisor, const void *x, void *y, bool add)
{
    const int64_t pieces = cot_pieces(count, COT_PIECE_ELEMENTS);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->divide(p * COT_PIECE_ELEMENTS, cot_piece_end(p, COT_PIECE_ELEMENTS, count), divisor, x, y, add);
}

/* The sum of x * y: pieces in order, whatever the threads. */
static double dot(const cot_cosine_kernels *kernels, int64_t count, const void *x, const void *y)
{
    const int64_t each = cot_sum_piece_rows(count), pieces = cot_pieces(count, each);
    double part[COT_SUM_PIECES] = {0}, sum = 0;
#pragma omp parallel for if (count > COT_PIECE_ELEMENTS) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) part[p] = kernels->dot(p * each, cot_piece_end(p, each, count), x, y);
    for (int64_t p = 0; p < pieces; p++) sum += part[p];
    return sum;
}

static void temperature_backward(cot_tape *tape, void *saved)
{
    const temperature_saved *s = saved;
    const cot_cosine_kernels *kernels = cot_cosine_kernels_for(cot_tape_mode(tape));
    const int64_t count = cot_tensor_count(s->x);
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    if (dx) divide(kernels, count, s->divisor, s->y->grad, dx, add);
    void *dt = cot_tape_grad(tape, s->t, &add);
    if (dt) cot_value_put(dt, s->t->dtype, 0, s->bound ? 0 : -dot(kernels, count, s->y->grad, s->y->data), add);
}

cot_tensor *cot_over_temperature(cot_tape *tape, cot_tensor *x, cot_tensor *t, double start, double least)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *y = cot_tape_tensor(tape, cot_tape_real(tape), x->rank, x->shape, x->needs_grad || t->needs_grad);
    temperature_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    const double temperature = start * exp(cot_value_at(t->data, t->dtype, 0));
    *s = (temperature_saved){.x = x, .t = t, .y = y, .divisor = fmax(temperature, least), .bound = temperature < least};
    divide(cot_cosine_kernels_for(cot_tape_mode(tape)), cot_tensor_count(x), s->divisor, x->data, y->data, false);
    cot_tape_record(tape, temperature_backward, s, &y, 1);
    return y;
}
