/* Router z-loss: coef * mean over tokens of lse(logits)^2 of the clean logits. Keeps logits small, and pins the
 * constant that all other losses leave free.   [zoph2022stmoe], eq. 5 */
#include "balance/balance.h"
#include "ops/square_lse.h"

static const cot_option options[] = {
    COT_BALANCE_OPTIONS(0.001),
    COT_OPTION_END,
};

static cot_tensor *loss(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    return cot_square_lse(tape, routing->clean_logits, cot_balance_coef(rule));
}

const cot_balance_ops cot_balance_z_loss = {
    .member = {"z_loss", "zoph2022stmoe", "keeps router logits small", options},
    .state_size = sizeof(cot_balance_common),
    .reads_logits = true,
    .loss = loss,
};
