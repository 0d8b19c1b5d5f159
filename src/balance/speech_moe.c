/* SpeechMoE's pair: sparsity makes each token's probabilities one-hot, mean_importance their mean over tokens even.
 *
 *   sparsity          coef * mean over tokens of |p_t / |p_t|_2|_1            1 when all are one-hot
 *   mean_importance   coef * E * sum over i of (mean over tokens of p_ti)^2   1 when the mean is even
 *
 * [you2021speechmoe], section 3.3 */
#include "balance/balance.h"
#include "ops/probability_losses.h"

static const cot_option options[] = {
    COT_BALANCE_OPTIONS(0.1),
    COT_OPTION_END,
};

static cot_tensor *sparsity(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    return cot_mean_unit_l1(tape, cot_routing_shares(routing), cot_balance_coef(rule));
}

const cot_balance_ops cot_balance_sparsity = {
    .member = {"sparsity", "you2021speechmoe", "makes single tokens' probabilities one-hot", options},
    .state_size = sizeof(cot_balance_common),
    .reads_shares = true,
    .loss = sparsity,
};

static cot_tensor *mean_importance(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    return cot_square_of_mean(tape, cot_routing_shares(routing), cot_balance_coef(rule));
}

const cot_balance_ops cot_balance_mean_importance = {
    .member = {"mean_importance", "you2021speechmoe", "makes the mean of all tokens' probabilities even", options},
    .state_size = sizeof(cot_balance_common),
    .reads_shares = true,
    .loss = mean_importance,
};
