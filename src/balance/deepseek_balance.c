/* DeepSeek's three balance losses, each worth its coef when all is even, by default over each sequence by itself:
 *
 *   expert_balance          sum over experts of f_i P_i,     f_i = E / (K T) * choices of i, P_i = mean share of i
 *   device_balance          sum over devices of f'_D P'_D,   f'_D = mean of f_i on the device, P'_D = sum of P_i
 *   communication_balance   sum over devices of f''_D P'_D,  f''_D = D / (M T) * tokens sent to the device
 *
 * Devices are num_groups runs of neighbouring experts; M = topk_group is how many of them a token may use (the router's
 * limit; the loss equals its coef at balance only if every token uses exactly M). Shares are probabilities, or affinities
 * over their sum. expert_balance is aux over sequences.
 *
 * [deepseek2024v2], section 2.2.3; weights 0.003, 0.05, 0.02 as there */
#include "balance/fractions.h"

typedef struct {
    cot_balance_common common;
    int64_t            num_groups, topk_group;
    int32_t            scope;
} device_state;

static bool skipped(const cot_routing *routing, int64_t a) { return routing->slot[a] == COT_SLOT_SKIPPED; }

/* f_i */
static void expert_fractions(const void *state, const cot_stretch *s, double *fraction)
{
    const cot_routing *routing = s->routing;
    int64_t count = 0;
    (void)state;
    for (int64_t a = s->a0; a < s->a1; a++) count += !skipped(routing, a);
    for (int64_t a = s->a0; a < s->a1; a++)
        if (!skipped(routing, a)) fraction[routing->expert[a]] += (double)routing->experts / (double)count;
}

/* Experts of a device; one that does not divide the pool leaves a smaller last device. */
static int64_t device_size(const device_state *s, int64_t experts) { return (experts + s->num_groups - 1) / s->num_groups; }

/* f'_D for every expert of D */
static void device_fractions(const void *state, const cot_stretch *s, double *fraction)
{
    const int64_t experts = s->routing->experts, each = device_size(state, experts);
    expert_fractions(NULL, s, fraction);
    for (int64_t from = 0; from < experts; from += each) {
        const int64_t to = from + each < experts ? from + each : experts;
        double mean = 0;
        for (int64_t e = from; e < to; e++) mean += fraction[e] / (double)(to - from);
        for (int64_t e = from; e < to; e++) fraction[e] = mean;
    }
}

/* Has token of assignment a used a's device before, among its earlier choices? */
static bool sent_before(const cot_routing *routing, int64_t a, int64_t each)
{
    for (int64_t b = a; b-- > 0 && routing->token[b] == routing->token[a];)
        if (!skipped(routing, b) && routing->expert[b] / each == routing->expert[a] / each) return true;
    return false;
}

/* f''_D for every expert of D */
static void communication_fractions(const void *state, const cot_stretch *s, double *fraction)
{
    const device_state *o = state;
    const cot_routing *routing = s->routing;
    const int64_t experts = routing->experts, each = device_size(o, experts), devices = (experts + each - 1) / each;
    const double unit = (double)devices / ((double)o->topk_group * (double)(s->to - s->from));
    for (int64_t a = s->a0; a < s->a1; a++)
        if (!skipped(routing, a) && !sent_before(routing, a, each)) fraction[routing->expert[a] / each * each] += unit;
    for (int64_t e = 0; e < experts; e++) fraction[e] = fraction[e / each * each];
}

/* ---- the rules ---- */

typedef struct {
    cot_balance_common common;
    int32_t            scope;
} expert_state;

static const cot_option expert_options[] = {
    COT_BALANCE_OPTIONS(0.003),
    COT_SCOPE_OPTION(expert_state, COT_SCOPE_SEQUENCE),
    COT_OPTION_END,
};

static cot_tensor *expert_loss(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    const expert_state *s = rule->state;
    return cot_balance_fractions(tape, routing, (cot_balance_scope)s->scope, expert_fractions, NULL, s->common.coef);
}

const cot_balance_ops cot_balance_expert_balance = {
    .member = {"expert_balance", "deepseek2024v2", "evens out experts in each sequence", expert_options},
    .state_size = sizeof(expert_state),
    .reads_shares = true,
    .loss = expert_loss,
};

static const cot_option device_options[] = {
    COT_BALANCE_OPTIONS(0.05),
    COT_OPTION_INT(device_state, num_groups, 2, 1, 4096, "devices: runs of neighbouring experts"),
    COT_SCOPE_OPTION(device_state, COT_SCOPE_SEQUENCE),
    COT_OPTION_END,
};

static cot_tensor *device_loss(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    const device_state *s = rule->state;
    return cot_balance_fractions(tape, routing, (cot_balance_scope)s->scope, device_fractions, s, s->common.coef);
}

const cot_balance_ops cot_balance_device_balance = {
    .member = {"device_balance", "deepseek2024v2", "evens out the work of devices in each sequence", device_options},
    .state_size = sizeof(device_state),
    .reads_shares = true,
    .loss = device_loss,
};

static const cot_option communication_options[] = {
    COT_BALANCE_OPTIONS(0.02),
    COT_OPTION_INT(device_state, num_groups, 2, 1, 4096, "devices: runs of neighbouring experts"),
    COT_OPTION_INT(device_state, topk_group, 1, 1, 4096, "devices that a token is sent to (M)"),
    COT_SCOPE_OPTION(device_state, COT_SCOPE_SEQUENCE),
    COT_OPTION_END,
};

static cot_tensor *communication_loss(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    const device_state *s = rule->state;
    return cot_balance_fractions(tape, routing, (cot_balance_scope)s->scope, communication_fractions, s, s->common.coef);
}

const cot_balance_ops cot_balance_communication_balance = {
    .member = {"communication_balance", "deepseek2024v2", "evens out what devices receive in each sequence", communication_options},
    .state_size = sizeof(device_state),
    .reads_shares = true,
    .loss = communication_loss,
};
