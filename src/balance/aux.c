/* The auxiliary loss of GShard, Switch and most sparse models since: coef * E * sum over i of f_i * P_i, f the fraction
 * of choices that expert i got (a constant), P the mean of its router probability over tokens (clean logits). It is
 * coef when all is even.
 *
 *   choices: all, divide_by_k: true    f over all choices
 *   choices: all, divide_by_k: false   k times that: choices per token (released Mixtral training code)
 *   choices: first                     f over first choices only (GShard, Switch)
 *
 *   scope: sequence, group    the mean of the losses of each sequence (DeepSeek), each group routed by itself (GShard)
 *
 * Not a distance: with uniform P it is coef whatever f is. Counted before capacity.
 * [lepikhin2020gshard], section 2.2; [fedus2021switch], eq. 4-6 */
#include "balance/fractions.h"

typedef struct {
    cot_balance_common common;
    int32_t            choices;  /* 0 first, 1 all */
    bool               divide_by_k;
    int32_t            scope;    /* cot_balance_scope */
} aux;

static const cot_option options[] = {
    COT_BALANCE_OPTIONS(0.01),
    COT_OPTION_CHOICE(aux, choices, 1, "first|all", "count a token's first choice or all of them"),
    COT_OPTION_BOOL(aux, divide_by_k, true,
                    "with choices: all, divide by their number, so that the loss is coef at balance"),
    COT_SCOPE_OPTION(aux, COT_SCOPE_BATCH),
    COT_OPTION_END,
};

/* Choices of each expert over the number of tokens, or of choices. */
static void fractions(const void *state, const cot_stretch *stretch, double *fraction)
{
    const aux *s = state;
    const cot_routing *routing = stretch->routing;
    int64_t choices = 0;
    for (int64_t a = stretch->a0; a < stretch->a1; a++) choices += routing->slot[a] != COT_SLOT_SKIPPED;
    const double whole = (double)(s->choices == 1 && s->divide_by_k ? choices : stretch->to - stretch->from);
    for (int64_t a = stretch->a0; a < stretch->a1; a++) {
        if (routing->slot[a] == COT_SLOT_SKIPPED) continue;
        const bool first = a == stretch->a0 || routing->token[a] != routing->token[a - 1];
        if (first || s->choices == 1) fraction[routing->expert[a]] += 1 / whole;
    }
}

static cot_tensor *loss(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    const aux *s = rule->state;
    return cot_balance_fractions(tape, routing, (cot_balance_scope)s->scope, fractions, s,
                                 s->common.coef * (double)routing->experts);
}

const cot_balance_ops cot_balance_aux = {
    .member = {"aux", "fedus2021switch, lepikhin2020gshard",
               "fraction of choices times mean probability, summed over experts", options},
    .state_size = sizeof(aux),
    .reads_shares = true,
    .loss = loss,
};
