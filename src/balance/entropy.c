/* Entropy losses, from multimodal pools: local makes single tokens sure of their experts, global keeps many experts in use
 * over all tokens.
 *
 *   local_entropy    coef * mean over tokens of H(p_t)
 *   global_entropy   coef * max(0, ln min_experts - H(mean of p)): nothing once as much as min_experts experts are used
 *                    evenly; min_experts: 0 leaves the threshold out: -H(mean of p)
 *
 * Entropies in nats, of router probabilities (clean logits).   [mustafa2022multimodal], section 3.2 */
#include <math.h>

#include "balance/balance.h"
#include "ops/probability_losses.h"

static const cot_option local_options[] = {
    COT_BALANCE_OPTIONS(0.04),
    COT_OPTION_END,
};

static cot_tensor *local_loss(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    return cot_mean_entropy(tape, cot_routing_shares(routing), cot_balance_coef(rule));
}

const cot_balance_ops cot_balance_local_entropy = {
    .member = {"local_entropy", "mustafa2022multimodal", "makes single tokens sure of their experts", local_options},
    .state_size = sizeof(cot_balance_common),
    .reads_shares = true,
    .loss = local_loss,
};

typedef struct {
    cot_balance_common common;
    double             min_experts;
} global_state;

static const cot_option global_options[] = {
    COT_BALANCE_OPTIONS(0.04),
    COT_OPTION_DOUBLE(global_state, min_experts, 0, 0, 1e6, "experts to be used at least, evenly (S); 0 = as many as possible"),
    COT_OPTION_END,
};

static cot_tensor *global_loss(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    const global_state *s = rule->state;
    const double limit = s->min_experts > 0 ? log(s->min_experts) : INFINITY;
    return cot_entropy_below(tape, cot_routing_shares(routing), limit, s->common.coef);
}

const cot_balance_ops cot_balance_global_entropy = {
    .member = {"global_entropy", "mustafa2022multimodal", "keeps many experts in use over all tokens", global_options},
    .state_size = sizeof(global_state),
    .reads_shares = true,
    .loss = global_loss,
};
