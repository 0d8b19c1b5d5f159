#include "ops/weighted_sum.h"

#include "ops/values.h"

typedef struct {
    cot_tensor  *out;
    cot_tensor **terms;
    double      *weights;
    int64_t      count;
} sum_saved;

static void sum_backward(cot_tape *tape, void *saved_)
{
    const sum_saved *s = saved_;
    const double seed = cot_value_at(s->out->grad, s->out->dtype, 0);
    for (int64_t i = 0; i < s->count; i++) {
        bool add = false;
        void *grad = cot_tape_grad(tape, s->terms[i], &add);
        if (grad) cot_value_put(grad, s->out->dtype, 0, s->weights[i] * seed, add);
    }
}

cot_tensor *cot_weighted_sum(cot_tape *tape, cot_tensor *const *terms, const double *weights, int64_t count)
{
    cot_tape_kind(tape, COT_TIME_LOSS);
    bool needs_grad = false;
    for (int64_t i = 0; i < count; i++) needs_grad = needs_grad || terms[i]->needs_grad;
    cot_tensor *out = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){1}, needs_grad);
    sum_saved *s = cot_tape_alloc(tape, sizeof *s);
    cot_tensor **kept_terms = cot_tape_alloc(tape, (size_t)count * sizeof *kept_terms);
    double *kept_weights = cot_tape_alloc(tape, (size_t)count * sizeof *kept_weights), sum = 0;
    if (cot_tape_failed(tape)) return out;
    for (int64_t i = 0; i < count; i++) {
        kept_terms[i] = terms[i];
        kept_weights[i] = weights ? weights[i] : 1;
        sum += kept_weights[i] * cot_value_at(terms[i]->data, out->dtype, 0);
    }
    *s = (sum_saved){out, kept_terms, kept_weights, count};
    cot_value_set(out->data, out->dtype, 0, sum);
    cot_tape_record(tape, sum_backward, s, &out, 1);
    return out;
}
