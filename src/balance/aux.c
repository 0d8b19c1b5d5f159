/* The auxiliary loss of GShard, Switch and most sparse models since: coef * E * sum over i of f_i * P_i, f the fraction
 * of choices that expert i got (a constant), P the mean of its router probability over tokens (clean logits). It is
 * coef when all is even.
 *
 *   choices: all, divide_by_k: true    f over all choices
 *   choices: all, divide_by_k: false   k times that: choices per token (released Mixtral training code)
 *   choices: first                     f over first choices only (GShard, Switch)
 *
 * Not a distance: with uniform P it is coef whatever f is. Counted before capacity.
 * [lepikhin2020gshard], section 2.2; [fedus2021switch], eq. 4-6 */
#include "balance/balance.h"
#include "ops/fraction_probability.h"

typedef struct {
    cot_balance_common common;
    int32_t            choices;  /* 0 first, 1 all */
    bool               divide_by_k;
} aux;

static const cot_option options[] = {
    COT_BALANCE_OPTIONS(0.01),
    COT_OPTION_CHOICE(aux, choices, 1, "first|all", "count a token's first choice or all of them"),
    COT_OPTION_BOOL(aux, divide_by_k, true,
                    "with choices: all, divide by their number, so that the loss is coef at balance"),
    COT_OPTION_END,
};

/* fraction [E]: choices of each expert over the number of tokens, or of choices. */
static void fractions(const aux *s, const cot_routing *routing, double *fraction)
{
    const bool per_choice = s->choices == 1 && s->divide_by_k;
    const double whole = (double)(per_choice ? routing->assignments - routing->skipped : routing->tokens);
    for (int64_t e = 0; e < routing->experts; e++) fraction[e] = 0;
    for (int64_t a = 0; a < routing->assignments; a++) {
        if (routing->slot[a] == COT_SLOT_SKIPPED) continue;
        const bool first = a == 0 || routing->token[a] != routing->token[a - 1];
        if (first || s->choices == 1) fraction[routing->expert[a]] += 1 / whole;
    }
}

static cot_tensor *loss(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    const aux *s = rule->state;
    const size_t mark = cot_tape_scratch_mark(tape);
    double *fraction = cot_tape_scratch(tape, (size_t)routing->experts * sizeof *fraction);
    if (!cot_tape_failed(tape)) fractions(s, routing, fraction);
    cot_tensor *result = cot_fraction_probability(tape, cot_routing_shares(routing), fraction,
                                                  s->common.coef * (double)routing->experts);
    cot_tape_scratch_release(tape, mark);
    return result;
}

const cot_balance_ops cot_balance_aux = {
    .member = {"aux", "fedus2021switch, lepikhin2020gshard",
               "fraction of choices times mean probability, summed over experts", options},
    .state_size = sizeof(aux),
    .loss = loss,
};
