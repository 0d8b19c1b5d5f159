#include "routing/capacity.h"

#include <math.h>
#include <string.h>

#include "ops/values.h"

const cot_option cot_capacity_options[] = {
    COT_OPTION_DOUBLE(cot_capacity, capacity_factor, 1.25, 0, 1e6, "slots per expert over an even share of all choices"),
    COT_OPTION_CHOICE(cot_capacity, policy, COT_CAPACITY_POSITION, "position|probability|random", "who gets a slot first"),
    COT_OPTION_INT(cot_capacity, min_capacity, 0, 0, 1e9, "an expert has at least as many slots"),
    COT_OPTION_CHOICE(cot_capacity, round, 0, "ceil|floor", "rounding of the number of slots"),
    COT_OPTION_END,
};

/* Products such as 1.1 * 10 / 11 may miss a whole number by a few units in the last place; the tolerance takes them for whole. */
int64_t cot_capacity_slots(const cot_capacity *capacity, int64_t k, int64_t tokens, int64_t experts)
{
    const double exact = capacity->capacity_factor * (double)k * (double)tokens / (double)experts;
    const double slots = capacity->round == 0 ? ceil(exact * (1 - 1e-12)) : floor(exact * (1 + 1e-12));
    return slots > (double)capacity->min_capacity ? (int64_t)slots : capacity->min_capacity;
}

/* ---- the order in which tokens are served ---- */

typedef struct {
    double  key;
    int32_t token;
} ranked;

/* Merge sort by descending key, stable: ties stay with the earlier token. `spare` has room for n. */
static void sort_descending(ranked *list, ranked *spare, int64_t n)
{
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t start = 0; start < n; start += 2 * width) {
            const int64_t middle = start + width < n ? start + width : n, end = middle + width < n ? middle + width : n;
            int64_t left = start, right = middle;
            for (int64_t i = start; i < end; i++)
                spare[i] = right >= end || (left < middle && list[left].key >= list[right].key) ? list[left++] : list[right++];
        }
        memcpy(list, spare, (size_t)n * sizeof *list);
    }
}

/* The softmax of a token's logits, ready for any expert. */
typedef struct {
    double largest, sum;  /* p = exp(h - largest) / sum */
} denominator;

static double logit(const cot_routing *routing, int64_t t, int64_t e)
{
    return cot_value_at(routing->clean_logits->data, routing->clean_logits->dtype, t * routing->experts + e);
}

/* Summed from small to large: tokens that hold the same logits in another order then have the same sum to the last bit, so that
 * equal probabilities tie. list and spare have room for a row. */
static denominator denominator_of(const cot_routing *routing, int64_t t, ranked *list, ranked *spare)
{
    const int64_t experts = routing->experts;
    for (int64_t e = 0; e < experts; e++) list[e] = (ranked){logit(routing, t, e), (int32_t)e};
    sort_descending(list, spare, experts);
    denominator d = {.largest = list[0].key};
    for (int64_t e = experts; e-- > 0;) d.sum += list[e].key > -INFINITY ? exp(list[e].key - d.largest) : 0;
    return d;
}

static double probability(const cot_routing *routing, const denominator *d, int64_t t, int64_t j)
{
    const double h = logit(routing, t, routing->expert[t * routing->top_k + j]);
    return h > -INFINITY ? exp(h - d->largest) / d->sum : 0;
}

/* Memory for an order; all NULL when tokens are served by position. */
typedef struct {
    ranked      *list, *spare;  /* [max(T, E)] */
    denominator *softmax;       /* [T], by probability only */
} order;

static order order_create(cot_tape *tape, const cot_routing *routing, cot_capacity_policy policy)
{
    const int64_t longest = routing->tokens > routing->experts ? routing->tokens : routing->experts;
    order o = {0};
    if (policy == COT_CAPACITY_POSITION) return o;
    o.list = cot_tape_scratch(tape, (size_t)longest * sizeof *o.list);
    o.spare = cot_tape_scratch(tape, (size_t)longest * sizeof *o.spare);
    if (policy == COT_CAPACITY_PROBABILITY) o.softmax = cot_tape_scratch(tape, (size_t)routing->tokens * sizeof *o.softmax);
    if (cot_tape_failed(tape)) return (order){0};
    for (int64_t t = 0; o.softmax && t < routing->tokens; t++) o.softmax[t] = denominator_of(routing, t, o.list, o.spare);
    return o;
}

/* The order for choice j in o->list. A random order is drawn once, probabilities differ from choice to choice. */
static void order_sort(const order *o, cot_tape *tape, const cot_routing *routing, uint32_t layer, int64_t j)
{
    const cot_rng_key random = cot_tape_rng(tape, COT_RNG_CAPACITY + layer);
    if (!o->list || (!o->softmax && j > 0)) return;
    for (int64_t t = 0; t < routing->tokens; t++)
        o->list[t] = (ranked){o->softmax ? probability(routing, &o->softmax[t], t, j) : (double)cot_rng_u32(random, (uint64_t)t), (int32_t)t};
    sort_descending(o->list, o->spare, routing->tokens);
}

/* ---- slots ---- */

/* Hands out the next slots of choice j, in the order of `list`, or by position when it is NULL. */
static void fill_slots(cot_routing *routing, int64_t j, const ranked *list, int64_t *used)
{
    for (int64_t i = 0; i < routing->tokens; i++) {
        const int64_t a = (list ? list[i].token : i) * routing->top_k + j;
        int64_t *next = &used[routing->expert[a]];
        const bool full = routing->capacity >= 0 && *next >= routing->capacity;
        routing->slot[a] = full ? -1 : (int32_t)(*next)++;
        routing->dropped += full;
    }
}

void cot_capacity_apply(cot_tape *tape, const cot_capacity *capacity, uint32_t layer, cot_routing *routing)
{
    const size_t mark = cot_tape_scratch_mark(tape), bytes = (size_t)routing->experts * sizeof(int64_t);
    if (cot_tape_failed(tape)) return;
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const order o = order_create(tape, routing, capacity ? (cot_capacity_policy)capacity->policy : COT_CAPACITY_POSITION);
    int64_t *used = cot_tape_scratch(tape, bytes);
    if (cot_tape_failed(tape)) return;
    memset(used, 0, bytes);
    routing->capacity = capacity ? cot_capacity_slots(capacity, routing->top_k, routing->tokens, routing->experts) : -1;
    routing->dropped = 0;
    for (int64_t j = 0; j < routing->top_k; j++) {
        order_sort(&o, tape, routing, layer, j);
        fill_slots(routing, j, o.list, used);
    }
    cot_tape_scratch_release(tape, mark);
}
