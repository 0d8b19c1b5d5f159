/* AdamW: Adam with decoupled weight decay.   [loshchilov2019adamw] */
#include <math.h>

#include "base/threads.h"
#include "training/optimizers/adamw.h"
#include "training/optimizers/row_updates.h"

typedef struct {
    cot_optimizer_common common;
    cot_adamw_settings   adam;
} adamw;

static const cot_option options[] = {
    COT_OPTIMIZER_COMMON(adamw, 1e-3, 0.1),
    COT_ADAMW_OPTIONS(adamw, adam),
    COT_OPTION_END,
};

void cot_adamw_declare(cot_slots *slots)
{
    slots->slot_name[0] = "first_moment";
    slots->slot_name[1] = "second_moment";
    slots->slot_size[0] = slots->slot_size[1] = cot_tensor_count(&slots->param->value);
}

static cot_adamw_rule rule_of(const cot_adamw_settings *s, const cot_slots *slots, double lr, int64_t step, double grad_scale)
{
    return (cot_adamw_rule){.lr = lr, .beta1 = s->beta1, .beta2 = s->beta2, .eps = s->eps, .correction1 = 1 - pow(s->beta1, (double)step),
                            .correction2 = 1 - pow(s->beta2, (double)step), .weight_decay = slots->weight_decay, .grad_scale = grad_scale};
}

void cot_adamw_update(const cot_adamw_settings *s, cot_mode mode, cot_slots *slots, double lr, int64_t step, double grad_scale)
{
    const cot_update_kernels *kernels = cot_update_kernels_for(mode);
    const cot_adamw_rule rule = rule_of(s, slots, lr, step, grad_scale);
    const cot_tensor *value = &slots->param->value;
    const int64_t count = cot_tensor_count(value), pieces = (count + COT_OPTIMIZER_PIECE - 1) / COT_OPTIMIZER_PIECE;
#pragma omp parallel for num_threads(cot_threads()) schedule(static) if (pieces > 1)
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t from = p * COT_OPTIMIZER_PIECE, to = from + COT_OPTIMIZER_PIECE < count ? from + COT_OPTIMIZER_PIECE : count;
        kernels->adamw(from, to, &rule, value->data, value->grad, slots->slot[0], slots->slot[1]);
    }
}

static void update_row(const cot_update_kernels *kernels, const void *rule, int64_t width, void *w, const void *g, void *const slot[])
{
    kernels->adamw(0, width, rule, w, g, slot[0], slot[1]);
}

void cot_adamw_update_rows(const cot_adamw_settings *s, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale)
{
    const cot_adamw_rule rule = rule_of(s, slots, lr, step, grad_scale);
    cot_update_rows(tape, slots, update_row, &rule);
}

static void declare(const cot_optimizer *optimizer, cot_slots *slots)
{
    (void)optimizer;
    cot_adamw_declare(slots);
}

static void update(const cot_optimizer *optimizer, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale)
{
    const adamw *s = optimizer->state;
    cot_adamw_update(&s->adam, cot_tape_mode(tape), slots, lr, step, grad_scale);
}

static void update_rows(const cot_optimizer *optimizer, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale)
{
    const adamw *s = optimizer->state;
    cot_adamw_update_rows(&s->adam, tape, slots, lr, step, grad_scale);
}

const cot_optimizer_ops cot_optimizer_adamw = {
    .member = {"adamw", "loshchilov2019adamw", "Adam with decoupled weight decay", options},
    .state_size = sizeof(adamw),
    .declare = declare,
    .update = update,
    .update_rows = update_rows,
};
