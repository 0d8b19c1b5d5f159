/* Loss-free balancing: no loss, no gradient. After each step a bias of every expert, which routers add to scores where they
 * choose and never to gates, moves against the expert's load over the whole batch:
 *
 *   update: sign           b_i += rate * sign(mean load - load_i)
 *           proportional   b_i += rate * (mean load - load_i) / mean load
 *
 * The bias is saved with the model and kept in evaluation: taking it away would change the routing. It works with routers
 * that take a bias (top_k, switch, deepseek).
 *
 * [wang2024auxiliary], algorithm 1 and section 4.3; rate 0.001 as there and in [deepseek2024v3] */
#include "balance/balance.h"

typedef struct {
    cot_balance_common common;
    double             rate;
    int32_t            update;  /* 0 sign, 1 proportional */
} loss_free;

static const cot_option options[] = {
    COT_OPTION_DOUBLE(loss_free, rate, 0.001, 0, 1e3, "how far the bias moves in a step (u)"),
    COT_OPTION_CHOICE(loss_free, update, 0, "sign|proportional", "by the sign of the load's error, or in proportion to it"),
    COT_OPTION_END,
};

static void update_bias(const cot_balance *rule, const int64_t *counts, int64_t experts, double *bias)
{
    const loss_free *s = rule->state;
    double mean = 0;
    for (int64_t e = 0; e < experts; e++) mean += (double)counts[e] / (double)experts;
    for (int64_t e = 0; e < experts && mean > 0; e++) {
        const double error = mean - (double)counts[e];
        bias[e] += s->rate * (s->update == 1 ? error / mean : (double)((error > 0) - (error < 0)));
    }
}

const cot_balance_ops cot_balance_loss_free = {
    .member = {"loss_free", "wang2024auxiliary", "a bias on the choice that follows the load; no loss", options},
    .state_size = sizeof(loss_free),
    .update_bias = update_bias,
};
