#include "ops/stack_scaled.h"

#include "ops/values.h"

typedef struct {
    cot_tensor *const *parts;
    cot_tensor        *factor, *y;
    const int64_t     *divisor;
    int64_t            count, size;
} stack_saved;

static double value(const cot_tensor *t, int64_t i) { return cot_value_at(t->data, t->dtype, i); }

/* What part i is multiplied by. */
static double scale_of(const stack_saved *s, int64_t i)
{
    if (s->divisor[i] == 0) return 0;
    return s->factor ? value(s->factor, i) / (double)s->divisor[i] : 1;
}

static void stack_backward(cot_tape *tape, void *saved)
{
    const stack_saved *s = saved;
    bool add = false;
    for (int64_t i = 0; i < s->count; i++) {
        void *dpart = cot_tape_grad(tape, s->parts[i], &add);
        for (int64_t j = 0; dpart && j < s->size; j++) {
            const double dy = cot_value_at(s->y->grad, s->y->dtype, i * s->size + j);
            cot_value_put(dpart, s->y->dtype, j, dy * scale_of(s, i), add);
        }
    }
    void *dfactor = s->factor ? cot_tape_grad(tape, s->factor, &add) : NULL;
    for (int64_t i = 0; dfactor && i < s->count; i++) {
        double sum = 0;
        for (int64_t j = 0; s->divisor[i] && j < s->size; j++)
            sum += cot_value_at(s->y->grad, s->y->dtype, i * s->size + j) * value(s->parts[i], j) / (double)s->divisor[i];
        cot_value_put(dfactor, s->y->dtype, i, sum, add);
    }
}

cot_tensor *cot_stack_scaled(cot_tape *tape, cot_tensor *const *parts, cot_tensor *factor, const int64_t *divisor, int64_t count)
{
    const int64_t size = cot_tensor_count(parts[0]);
    bool needs_grad = factor && factor->needs_grad;
    for (int64_t i = 0; i < count; i++) needs_grad = needs_grad || parts[i]->needs_grad;
    cot_tensor *y = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){count * size}, needs_grad);
    stack_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (stack_saved){parts, factor, y, divisor, count, size};
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < size; j++)
            cot_value_set(y->data, y->dtype, i * size + j, divisor[i] ? scale_of(s, i) * value(parts[i], j) : 0);
    cot_tape_record(tape, stack_backward, s, &y, 1);
    return y;
}
