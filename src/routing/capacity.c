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

/* What the policy sorts by when choice j is placed. */
static double key_of(const cot_routing *routing, cot_capacity_policy policy, cot_rng_key random, int64_t t, int64_t j)
{
    if (policy == COT_CAPACITY_RANDOM) return (double)cot_rng_u32(random, (uint64_t)t);
    const int32_t expert = routing->expert[t * routing->top_k + j];
    return cot_value_at(routing->probs->data, routing->probs->dtype, t * routing->experts + expert);
}

/* Random orders are drawn once, probabilities differ from choice to choice. */
static void sort_tokens(cot_tape *tape, const cot_routing *routing, cot_capacity_policy policy, uint32_t layer, int64_t j, ranked *list, ranked *spare)
{
    if (policy == COT_CAPACITY_POSITION || (policy == COT_CAPACITY_RANDOM && j > 0)) return;
    const cot_rng_key random = cot_tape_rng(tape, COT_RNG_CAPACITY + layer);
    for (int64_t t = 0; t < routing->tokens; t++) list[t] = (ranked){key_of(routing, policy, random, t, j), (int32_t)t};
    sort_descending(list, spare, routing->tokens);
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
    const int64_t tokens = routing->tokens, experts = routing->experts;
    const cot_capacity_policy policy = capacity ? (cot_capacity_policy)capacity->policy : COT_CAPACITY_POSITION;
    if (cot_tape_failed(tape)) return;
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const bool sorted = policy != COT_CAPACITY_POSITION;
    const size_t mark = cot_tape_scratch_mark(tape), list_bytes = sorted ? (size_t)tokens * sizeof(ranked) : 0;
    int64_t *used = cot_tape_scratch(tape, (size_t)experts * sizeof *used);
    ranked *list = cot_tape_scratch(tape, list_bytes), *spare = cot_tape_scratch(tape, list_bytes);
    if (cot_tape_failed(tape)) return;
    memset(used, 0, (size_t)experts * sizeof *used);
    routing->capacity = capacity ? cot_capacity_slots(capacity, routing->top_k, tokens, experts) : -1;
    routing->dropped = 0;
    for (int64_t j = 0; j < routing->top_k; j++) {
        sort_tokens(tape, routing, policy, layer, j, list, spare);
        fill_slots(routing, j, sorted ? list : NULL, used);
    }
    cot_tape_scratch_release(tape, mark);
}
