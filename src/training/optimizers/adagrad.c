/* Adagrad: each element's step falls with the root of the sum of its squared gradients.   [duchi2011adaptive]
 *
 *   s = s + g^2;  w -= lr g / (sqrt(s) + eps)
 *
 * What is kept of a row changes only when the row does, so touched rows alone and the whole table are the same thing (but
 * for weight decay, which only touched rows have). */
#include "base/threads.h"
#include "training/optimizers/row_updates.h"

typedef struct {
    cot_optimizer_common common;
    double               eps;
} adagrad;

static const cot_option options[] = {
    COT_OPTIMIZER_COMMON(adagrad, 1e-2, 0),
    COT_OPTION_DOUBLE(adagrad, eps, 1e-10, 0, 1, "added to the root of the sum of squares"),
    COT_OPTION_END,
};

/* One step's rule. */
typedef struct {
    double lr, eps, weight_decay, grad_scale;
} step_rule;

static step_rule rule_of(const cot_optimizer *optimizer, const cot_slots *slots, double lr, double grad_scale)
{
    return (step_rule){lr, ((const adagrad *)optimizer->state)->eps, slots->weight_decay, grad_scale};
}

static void declare(const cot_optimizer *optimizer, cot_slots *slots)
{
    (void)optimizer;
    slots->slot_name[0] = "sum_of_squares";
    slots->slot_size[0] = cot_tensor_count(&slots->param->value);
}

static void update(const cot_optimizer *optimizer, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale)
{
    (void)step;
    const cot_update_kernels *kernels = cot_update_kernels_for(cot_tape_mode(tape));
    const step_rule r = rule_of(optimizer, slots, lr, grad_scale);
    const cot_tensor *value = &slots->param->value;
    const int64_t count = cot_tensor_count(value), pieces = (count + COT_OPTIMIZER_PIECE - 1) / COT_OPTIMIZER_PIECE;
#pragma omp parallel for num_threads(cot_threads()) schedule(static) if (pieces > 1)
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t from = p * COT_OPTIMIZER_PIECE, to = from + COT_OPTIMIZER_PIECE < count ? from + COT_OPTIMIZER_PIECE : count;
        kernels->adagrad(from, to, r.lr, r.eps, r.weight_decay, r.grad_scale, value->data, value->grad, slots->slot[0]);
    }
}

static void update_row(const cot_update_kernels *kernels, const void *rule, int64_t width, void *w, const void *g, void *const slot[])
{
    const step_rule *r = rule;
    kernels->adagrad(0, width, r->lr, r->eps, r->weight_decay, r->grad_scale, w, g, slot[0]);
}

static void update_rows(const cot_optimizer *optimizer, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale)
{
    (void)step;
    const step_rule r = rule_of(optimizer, slots, lr, grad_scale);
    cot_update_rows(tape, slots, update_row, &r);
}

const cot_optimizer_ops cot_optimizer_adagrad = {
    .member = {"adagrad", "duchi2011adaptive", "steps that fall with the squared gradients seen so far", options},
    .state_size = sizeof(adagrad),
    .declare = declare,
    .update = update,
    .update_rows = update_rows,
};
