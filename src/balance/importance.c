/* Importance: coef * CV^2 of the sums of gates that experts receive. Equal sums of gates are not equal numbers of
 * tokens: see `load`. An expert that nobody chose gets no gradient from it.   [shazeer2017outrageously], eq. 6-7 */
#include "balance/balance.h"
#include "ops/cv_squared.h"
#include "ops/expert_sum.h"

static const cot_option options[] = {
    COT_BALANCE_OPTIONS(0.1),
    COT_OPTION_END,
};

static cot_tensor *loss(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    cot_tensor *importance = cot_expert_sum(tape, routing->gate, routing->expert, routing->experts);
    return cot_cv_squared(tape, importance, cot_balance_coef(rule));
}

const cot_balance_ops cot_balance_importance = {
    .member = {"importance", "shazeer2017outrageously", "evens out the sum of gates of each expert", options},
    .state_size = sizeof(cot_balance_common),
    .loss = loss,
};
