/* Stochastic gradient descent with momentum.   [sutskever2013importance] */
#include "base/threads.h"
#include "kernels/update/update.h"
#include "training/optimizers/optimizer.h"

typedef struct {
    cot_optimizer_common common;
    double               momentum;
    bool                 nesterov;
} sgd;

static const cot_option options[] = {
    COT_OPTIMIZER_COMMON(sgd, 0.1, 0),
    COT_OPTION_DOUBLE(sgd, momentum, 0.9, 0, 0.9999999, "how much of the last step goes on; 0 = none is kept"),
    COT_OPTION_BOOL(sgd, nesterov, false, "look ahead along the momentum"),
    COT_OPTION_END,
};

static void declare(const cot_optimizer *optimizer, cot_slots *slots)
{
    const sgd *s = optimizer->state;
    if (s->momentum <= 0) return;
    slots->slot_name[0] = "momentum";
    slots->slot_size[0] = cot_tensor_count(&slots->param->value);
}

static void update(const cot_optimizer *optimizer, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale)
{
    (void)step;
    const sgd *s = optimizer->state;
    const cot_update_kernels *kernels = cot_update_kernels_for(cot_tape_mode(tape));
    const cot_tensor *value = &slots->param->value;
    const int64_t count = cot_tensor_count(value), pieces = (count + COT_OPTIMIZER_PIECE - 1) / COT_OPTIMIZER_PIECE;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t from = p * COT_OPTIMIZER_PIECE, to = from + COT_OPTIMIZER_PIECE < count ? from + COT_OPTIMIZER_PIECE : count;
        kernels->sgd(from, to, lr, s->momentum, s->nesterov, slots->weight_decay, grad_scale, value->data, value->grad, slots->slot[0]);
    }
}

const cot_optimizer_ops cot_optimizer_sgd = {
    .member = {"sgd", "sutskever2013importance", "stochastic gradient descent with momentum", options},
    .state_size = sizeof(sgd),
    .declare = declare,
    .update = update,
};
