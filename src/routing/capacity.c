#include "routing/capacity.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "ops/ragged_gate.h"
#include "ops/values.h"
#include "routing/ranked.h"

const cot_option cot_capacity_options[] = {
    COT_OPTION_DOUBLE(cot_capacity, capacity_factor, 1.25, 0, 1e6,
                      "slots per expert over an even share of all choices"),
    COT_OPTION_CHOICE(cot_capacity, policy, COT_CAPACITY_POSITION, "position|probability|random|batch_prioritised",
                      "who gets a slot first: earlier tokens, larger probabilities of the choice, chance, or tokens by "
                      "their largest probability (V-MoE); all but the first look ahead"),
    COT_OPTION_INT(cot_capacity, min_capacity, 0, 0, 1e9, "an expert has at least as many slots"),
    COT_OPTION_CHOICE(cot_capacity, round, 0, "ceil|floor", "rounding of the number of slots"),
    COT_OPTION_BOOL(cot_capacity, renormalize, false, "divide the gates of a token's kept choices by their sum"),
    COT_OPTION_END,
};

/* Products such as 1.1 * 10 / 11 may miss a whole number by a few units in the last place; the tolerance takes them
 * for whole. */
int64_t cot_capacity_slots(const cot_capacity *capacity, double k, int64_t tokens, int64_t experts)
{
    const double exact = capacity->capacity_factor * k * (double)tokens / (double)experts;
    const double slots = capacity->round == 0 ? ceil(exact * (1 - 1e-12)) : floor(exact * (1 + 1e-12));
    return slots > (double)capacity->min_capacity ? (int64_t)slots : capacity->min_capacity;
}

/* ---- one group of tokens ---- */

typedef struct {
    cot_routing   *routing;
    const int64_t *first;          /* [T + 1] first assignment of each token */
    int64_t        from, to;       /* tokens of the group */
    int64_t        base, capacity; /* its first slot, and how many it has; capacity -1 = no limit */
    cot_ranked    *list, *spare;   /* [to - from] */
    int64_t       *used;           /* [E] slots taken, from base on */
} group;

static double probability(const cot_routing *routing, int64_t token, int64_t expert)
{
    return cot_value_at(routing->probs->data, routing->probs->dtype, token * routing->experts + expert);
}

static bool has_choice(const group *g, int64_t token, int64_t j) { return g->first[token] + j < g->first[token + 1]; }

/* Ranks the group's tokens by list[].key, equal probabilities by position. */
static void rank(const group *g)
{
    const double epsilon = g->routing->probs->dtype == COT_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
    cot_rank_with_ties(g->list, g->spare, g->to - g->from, 32 * epsilon, 0);
}

static void rank_by_choice(const group *g, int64_t j)
{
    for (int64_t t = g->from; t < g->to; t++) {
        const bool has = has_choice(g, t, j);
        const double key = has ? probability(g->routing, t, g->routing->expert[g->first[t] + j]) : -1;
        g->list[t - g->from] = (cot_ranked){key, (int32_t)t};
    }
    rank(g);
}

static void rank_by_largest(const group *g)
{
    for (int64_t t = g->from; t < g->to; t++) {
        double largest = 0;
        for (int64_t e = 0; e < g->routing->experts; e++) largest = fmax(largest, probability(g->routing, t, e));
        g->list[t - g->from] = (cot_ranked){largest, (int32_t)t};
    }
    rank(g);
}

static void rank_at_random(const group *g, cot_rng_key key)
{
    for (int64_t t = g->from; t < g->to; t++)
        g->list[t - g->from] = (cot_ranked){(double)cot_rng_u32(key, (uint64_t)t), (int32_t)t};
    cot_rank_descending(g->list, g->spare, g->to - g->from);
}

/* Hands out the next slots of choice j, in the order of the list, or by position. */
static void fill_slots(const group *g, int64_t j, bool sorted)
{
    cot_routing *routing = g->routing;
    for (int64_t i = 0; i < g->to - g->from; i++) {
        const int64_t token = sorted ? g->list[i].token : g->from + i, a = g->first[token] + j;
        if (!has_choice(g, token, j)) continue;
        int64_t *used = &g->used[routing->expert[a]];
        if (routing->slot[a] == COT_SLOT_SKIPPED) {
            *used += routing->skipped_hold_slots;
            continue;
        }
        if (routing->slot[a] == COT_SLOT_FULL) {  /* by the router */
            routing->dropped++;
            continue;
        }
        const bool full = g->capacity >= 0 && *used >= g->capacity;
        routing->slot[a] = full ? COT_SLOT_FULL : (int32_t)(g->base + (*used)++);
        routing->dropped += full;
    }
}

static void serve_group(const group *g, cot_capacity_policy policy, int64_t choices, cot_rng_key key)
{
    memset(g->used, 0, (size_t)g->routing->experts * sizeof *g->used);
    if (policy == COT_CAPACITY_RANDOM) rank_at_random(g, key);
    if (policy == COT_CAPACITY_BATCH_PRIORITISED) rank_by_largest(g);
    for (int64_t j = 0; j < choices; j++) {
        if (policy == COT_CAPACITY_PROBABILITY) rank_by_choice(g, j);
        fill_slots(g, j, policy != COT_CAPACITY_POSITION);
    }
}

/* ---- all of them ---- */

static int64_t most_choices(const cot_routing *routing, const int64_t *first)
{
    int64_t most = 0;
    for (int64_t t = 0; t < routing->tokens; t++) most = first[t + 1] - first[t] > most ? first[t + 1] - first[t] : most;
    return most;
}

static double mean_choices(const cot_routing *routing)
{
    if (routing->top_k > 0 || routing->tokens == 0) return (double)routing->top_k;
    return (double)routing->assignments / (double)routing->tokens;
}

/* A dropless routing has one stretch of slots; with capacity every group has its own. */
static void serve(group *g, const cot_capacity *capacity, cot_rng_key key)
{
    cot_routing *routing = g->routing;
    cot_capacity_policy policy = capacity ? (cot_capacity_policy)capacity->policy : COT_CAPACITY_POSITION;
    if (!routing->probs && policy != COT_CAPACITY_RANDOM) policy = COT_CAPACITY_POSITION;
    const cot_runs groups = capacity ? routing->groups : (cot_runs){0, NULL};
    const int64_t choices = most_choices(routing, g->first);
    routing->capacity = -1;
    for (int64_t i = 0; i < cot_runs_number(groups); i++) {
        g->from = cot_runs_from(groups, i);
        g->to = cot_runs_to(groups, i, routing->tokens);
        g->capacity = capacity ? cot_capacity_slots(capacity, mean_choices(routing), g->to - g->from, routing->experts)
                               : -1;
        serve_group(g, policy, choices, key);
        g->base += g->capacity > 0 ? g->capacity : 0;
        if (g->capacity > routing->capacity) routing->capacity = g->capacity;
    }
}

void cot_capacity_apply(cot_tape *tape, const cot_capacity *capacity, uint32_t layer, cot_routing *routing)
{
    if (cot_tape_failed(tape) || routing->own_slots) return;
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const bool sorted = capacity && capacity->policy != COT_CAPACITY_POSITION;
    const size_t mark = cot_tape_scratch_mark(tape), list = sorted ? (size_t)routing->tokens * sizeof(cot_ranked) : 0;
    group g = {.routing = routing, .first = cot_routing_first(tape, routing)};
    g.used = cot_tape_scratch(tape, (size_t)routing->experts * sizeof *g.used);
    g.list = cot_tape_scratch(tape, list);
    g.spare = cot_tape_scratch(tape, list);
    routing->dropped = 0;
    if (!cot_tape_failed(tape)) serve(&g, capacity, cot_tape_rng(tape, COT_RNG_CAPACITY + layer));
    cot_tape_scratch_release(tape, mark);
    if (capacity && capacity->renormalize)
        routing->gate = cot_gate_normalise(tape, routing->gate, routing->token, routing->slot, 1, 0);
}
