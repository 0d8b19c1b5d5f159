#include "ops/low_rank.h"

#include "base/threads.h"
#include "ops/values.h"

typedef struct {
    cot_tensor *base, *outer, *inner, *out;
    int64_t     stack, rows, columns, rank;
} stack_saved;

static double value(const cot_tensor *t, int64_t i) { return cot_value_at(t->data, t->dtype, i); }
static double slope(const cot_tensor *t, int64_t i) { return cot_value_at(t->grad, t->dtype, i); }

/* d base = sum over the stack of dy */
static void back_base(cot_tape *tape, const stack_saved *s)
{
    bool add = false;
    void *grad = cot_tape_grad(tape, s->base, &add);
    const int64_t size = s->rows * s->columns;
    if (!grad) return;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < size; i++) {
        double sum = 0;
        for (int64_t e = 0; e < s->stack; e++) sum += slope(s->out, e * size + i);
        cot_value_put(grad, s->base->dtype, i, sum, add);
    }
}

/* d outer[e] = dy[e] inner[e]^T */
static void back_outer(cot_tape *tape, const stack_saved *s)
{
    bool add = false;
    void *grad = cot_tape_grad(tape, s->outer, &add);
    if (!grad) return;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < s->stack * s->rows; i++)
        for (int64_t k = 0; k < s->rank; k++) {
            const int64_t inner = (i / s->rows * s->rank + k) * s->columns;
            double sum = 0;
            for (int64_t c = 0; c < s->columns; c++) sum += slope(s->out, i * s->columns + c) * value(s->inner, inner + c);
            cot_value_put(grad, s->outer->dtype, i * s->rank + k, sum, add);
        }
}

/* d inner[e] = outer[e]^T dy[e] */
static void back_inner(cot_tape *tape, const stack_saved *s)
{
    bool add = false;
    void *grad = cot_tape_grad(tape, s->inner, &add);
    if (!grad) return;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < s->stack * s->rank; i++) {
        const int64_t e = i / s->rank, k = i % s->rank;
        for (int64_t c = 0; c < s->columns; c++) {
            double sum = 0;
            for (int64_t r = 0; r < s->rows; r++)
                sum += value(s->outer, (e * s->rows + r) * s->rank + k) * slope(s->out, (e * s->rows + r) * s->columns + c);
            cot_value_put(grad, s->inner->dtype, i * s->columns + c, sum, add);
        }
    }
}

static void stack_backward(cot_tape *tape, void *saved)
{
    back_base(tape, saved);
    back_outer(tape, saved);
    back_inner(tape, saved);
}

cot_tensor *cot_low_rank_stack(cot_tape *tape, cot_tensor *base, cot_tensor *outer, cot_tensor *inner)
{
    cot_tape_kind(tape, COT_TIME_EXPERTS);
    const int64_t shape[] = {outer->shape[0], base->shape[0], base->shape[1]};
    cot_tensor *out = cot_tape_tensor(tape, base->dtype, 3, shape, base->needs_grad || outer->needs_grad || inner->needs_grad);
    stack_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return out;
    *s = (stack_saved){base, outer, inner, out, shape[0], shape[1], shape[2], outer->shape[2]};
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < s->stack * s->rows; i++)
        for (int64_t c = 0; c < s->columns; c++) {
            double sum = value(base, i % s->rows * s->columns + c);
            for (int64_t k = 0; k < s->rank; k++)
                sum += value(outer, i * s->rank + k) * value(inner, (i / s->rows * s->rank + k) * s->columns + c);
            cot_value_set(out->data, out->dtype, i * s->columns + c, sum);
        }
    cot_tape_record(tape, stack_backward, s, &out, 1);
    return out;
}
