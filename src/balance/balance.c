#include "balance/balance.h"

#include "base/fail.h"
#include "base/memory.h"

#define BALANCE(id) extern const cot_balance_ops cot_balance_##id;
#include "balance/balance.def"
#undef BALANCE

static const cot_balance_ops *const rules[] = {
#define BALANCE(id) &cot_balance_##id,
#include "balance/balance.def"
#undef BALANCE
};

const cot_member *cot_balance_at(size_t index)
{
    return index < sizeof rules / sizeof *rules ? &rules[index]->member : NULL;
}

cot_status cot_balance_create(const cot_config *spec, cot_balance **out)
{
    *out = NULL;
    const cot_member *member;
    COT_TRY(cot_family_find("balance rule", cot_balance_at, spec, &member));
    cot_balance *rule = cot_calloc(sizeof *rule);
    if (!rule) return cot_fail(COT_OUT_OF_MEMORY, "no memory for balance rule '%s'", member->name);
    rule->ops = (const cot_balance_ops *)member;
    const cot_status status = cot_state_create(member, rule->ops->state_size, spec, &rule->state);
    if (status == COT_OK) *out = rule;
    else cot_balance_destroy(rule);
    return status;
}

void cot_balance_destroy(cot_balance *rule)
{
    if (!rule) return;
    cot_state_destroy(&rule->ops->member, rule->state);
    cot_free(rule);
}

bool cot_balance_fits(const cot_balance *rule, const cot_routing *routing)
{
    return (!rule->ops->reads_shares || cot_routing_shares(routing)) && (!rule->ops->reads_logits || routing->clean_logits);
}

cot_tensor *cot_balance_loss(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    if (cot_balance_fits(rule, routing) || cot_tape_failed(tape)) return rule->ops->loss(rule, tape, routing);
    cot_tape_fail(tape, cot_fail(COT_INVALID, "balance rule '%s' reads a score for every expert, and this router forms none",
                                 rule->ops->member.name));
    return cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){1}, false);
}
