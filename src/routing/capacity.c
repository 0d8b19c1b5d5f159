#include "routing/capacity.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "ops/values.h"

const cot_option cot_capacity_options[] = {
    COT_OPTION_DOUBLE(cot_capacity, capacity_factor, 1.25, 0, 1e6,
                      "slots per expert over an even share of all choices"),
    COT_OPTION_CHOICE(cot_capacity, policy, COT_CAPACITY_POSITION, "position|probability|random",
                      "who gets a slot first"),
    COT_OPTION_INT(cot_capacity, min_capacity, 0, 0, 1e9, "an expert has at least as many slots"),
    COT_OPTION_CHOICE(cot_capacity, round, 0, "ceil|floor", "rounding of the number of slots"),
    COT_OPTION_END,
};

/* Products such as 1.1 * 10 / 11 may miss a whole number by a few units in the last place; the tolerance takes them
 * for whole. */
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
            for (int64_t i = start; i < end; i++) {
                const bool take_left = right >= end || (left < middle && list[left].key >= list[right].key);
                spare[i] = list[take_left ? left++ : right++];
            }
        }
        memcpy(list, spare, (size_t)n * sizeof *list);
    }
}

/* Gives keys that differ by rounding alone, and so stand for equal probabilities, one value, and sorts again: then they
 * tie and the earlier token comes first, however its softmax was summed. list is sorted; the values between ties stay
 * in order. */
static void tie_and_sort(ranked *list, ranked *spare, int64_t n, double epsilon)
{
    double head = INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (!(list[i].key >= head * (1 - 32 * epsilon))) head = list[i].key;
        spare[list[i].token] = (ranked){head, list[i].token};
    }
    memcpy(list, spare, (size_t)n * sizeof *list);
    sort_descending(list, spare, n);
}

/* Fills list with the order in which tokens are served for choice j: by the probability of that choice. */
static void sort_by_probability(const cot_routing *routing, int64_t j, ranked *list, ranked *spare)
{
    const cot_dtype real = routing->probs->dtype;
    for (int64_t t = 0; t < routing->tokens; t++) {
        const int32_t expert = routing->expert[t * routing->top_k + j];
        list[t] = (ranked){cot_value_at(routing->probs->data, real, t * routing->experts + expert), (int32_t)t};
    }
    sort_descending(list, spare, routing->tokens);
    tie_and_sort(list, spare, routing->tokens, real == COT_F64 ? DBL_EPSILON : (double)FLT_EPSILON);
}

static void sort_at_random(cot_rng_key key, int64_t tokens, ranked *list, ranked *spare)
{
    for (int64_t t = 0; t < tokens; t++) list[t] = (ranked){(double)cot_rng_u32(key, (uint64_t)t), (int32_t)t};
    sort_descending(list, spare, tokens);
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
    const cot_capacity_policy policy = capacity ? (cot_capacity_policy)capacity->policy : COT_CAPACITY_POSITION;
    const bool sorted = policy != COT_CAPACITY_POSITION;
    const size_t mark = cot_tape_scratch_mark(tape), bytes = (size_t)routing->experts * sizeof(int64_t);
    const size_t list_bytes = sorted ? (size_t)routing->tokens * sizeof(ranked) : 0;
    if (cot_tape_failed(tape)) return;
    cot_tape_kind(tape, COT_TIME_ROUTING);
    int64_t *used = cot_tape_scratch(tape, bytes);
    ranked *list = cot_tape_scratch(tape, list_bytes), *spare = cot_tape_scratch(tape, list_bytes);
    if (cot_tape_failed(tape)) return;
    memset(used, 0, bytes);
    routing->capacity = capacity ? cot_capacity_slots(capacity, routing->top_k, routing->tokens, routing->experts) : -1;
    routing->dropped = 0;
    if (policy == COT_CAPACITY_RANDOM)
        sort_at_random(cot_tape_rng(tape, COT_RNG_CAPACITY + layer), routing->tokens, list, spare);
    for (int64_t j = 0; j < routing->top_k; j++) {
        if (policy == COT_CAPACITY_PROBABILITY) sort_by_probability(routing, j, list, spare);
        fill_slots(routing, j, sorted ? list : NULL, used);
    }
    cot_tape_scratch_release(tape, mark);
}
