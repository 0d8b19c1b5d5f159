#include "balance/fractions.h"

#include <string.h>

#include "ops/fraction_probability.h"

static cot_runs runs_of(const cot_routing *routing, cot_balance_scope scope)
{
    const cot_runs none = {0, NULL};
    return scope == COT_SCOPE_SEQUENCE ? routing->sequences : scope == COT_SCOPE_GROUP ? routing->groups : none;
}

/* fraction [runs, E] of all stretches. */
static void fill_all(const cot_routing *routing, cot_runs runs, cot_fraction_fill fill, const void *state, double *fraction)
{
    int64_t a = 0;
    for (int64_t i = 0; i < cot_runs_number(runs); i++) {
        cot_stretch s = {routing, cot_runs_from(runs, i), cot_runs_to(runs, i, routing->tokens), a, a};
        while (s.a1 < routing->assignments && routing->token[s.a1] < s.to) s.a1++;
        if (s.to > s.from) fill(state, &s, fraction + i * routing->experts);
        a = s.a1;
    }
}

cot_tensor *cot_balance_fractions(cot_tape *tape, const cot_routing *routing, cot_balance_scope scope, cot_fraction_fill fill,
                                  const void *state, double scale)
{
    const cot_runs runs = runs_of(routing, scope);
    const size_t mark = cot_tape_scratch_mark(tape);
    const size_t bytes = (size_t)(cot_runs_number(runs) * routing->experts) * sizeof(double);
    double *fraction = cot_tape_scratch(tape, bytes);
    if (fraction) {
        memset(fraction, 0, bytes);
        fill_all(routing, runs, fill, state, fraction);
    }
    cot_tensor *result = cot_fraction_probability(tape, cot_routing_shares(routing), runs.count, runs.offset, fraction, scale);
    cot_tape_scratch_release(tape, mark);
    return result;
}
