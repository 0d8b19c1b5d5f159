/* Losses of the form: what experts received (a constant), times what the router would give them. */
#ifndef COT_BALANCE_FRACTIONS_H
#define COT_BALANCE_FRACTIONS_H

#include "balance/balance.h"

/* Over which tokens fractions and means are taken; losses of sequences or groups are averaged. */
typedef enum { COT_SCOPE_BATCH, COT_SCOPE_SEQUENCE, COT_SCOPE_GROUP } cot_balance_scope;

#define COT_SCOPE_OPTION(type, value) \
    COT_OPTION_CHOICE(type, scope, value, "batch|sequence|group", "over which tokens shares are taken; the mean of them counts")

/* Tokens from .. to - 1 of a routing with assignments a0 .. a1 - 1. */
typedef struct {
    const cot_routing *routing;
    int64_t            from, to, a0, a1;
} cot_stretch;

/* Fills fraction [E] for one stretch; it is zero before. */
typedef void (*cot_fraction_fill)(const void *state, const cot_stretch *stretch, double *fraction);

/* scale * mean over the scope's stretches of (sum over i of fraction[i] * mean over tokens of share[t, i]). */
cot_tensor *cot_balance_fractions(cot_tape *tape, const cot_routing *routing, cot_balance_scope scope, cot_fraction_fill fill,
                                  const void *state, double scale);

#endif
