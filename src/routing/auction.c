#include "routing/auction.h"

#include <math.h>
#include <string.h>

/* Tokens bid for experts. An expert has m slots, each with a price and an owner, and sells the cheapest one; its price is
 * that slot's. A token without a slot bids for the expert of which it has most (score - price), and raises the slot's price
 * until that expert is worth epsilon less to it than the next best one. Whoever owned the slot is out and bids again. When
 * all have a slot, the total is within epsilon per token of the optimum: prices P of the experts are a dual solution, and
 *     max over e of (score[t, e] - P[e]) <= score[t, own] - P[own] + epsilon
 * for every token, since prices of other experts only rise after its bid.
 *
 * Epsilon starts large, so that prices come near their level in big steps, and falls by a constant factor; each phase starts
 * with the former one's prices and without owners. Where experts' slots outnumber the tokens, tokens without preference
 * fill the rest. */

enum { NOBODY = -1 };

static const double EPSILON_FACTOR = 0.05, FIRST_EPSILON = 1.0 / 32;

typedef struct {
    double  price;
    int32_t owner;
} slot;

typedef struct {
    int64_t  tokens, experts, slots;  /* tokens with the filling ones; slots of each expert */
    int64_t  real;                    /* tokens without them */
    double  *value;                   /* [real + 1, experts] scores, masks replaced; the last row is a filling token's */
    slot    *heap;                    /* [experts, slots], each expert's cheapest first */
    double  *price;                   /* [experts] of the cheapest */
    int32_t *waiting;                 /* [tokens] stack */
} market;

size_t cot_assign_bytes(int64_t tokens, int64_t experts)
{
    const size_t slots = (size_t)((tokens + experts - 1) / experts * experts);
    return (size_t)((tokens + 2) * experts) * sizeof(double) + slots * (sizeof(slot) + sizeof(int32_t));
}

/* ---- heaps of slots, the cheapest on top ---- */

static void sink(slot *heap, int64_t count)
{
    const slot top = heap[0];
    int64_t at = 0;
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= count) break;
        const bool last = child + 1 == count;
        child += heap[last ? child : child + 1].price < heap[child].price;  /* no branch, which nobody could foretell */
        if (!(heap[child].price < top.price)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = top;
}

/* ---- bids ---- */

typedef struct {
    int64_t expert;
    double  best, next;  /* what the expert and the next best one are worth */
} wish;

static wish best_of(const market *m, int32_t token)
{
    const double *value = m->value + (token < m->real ? token : m->real) * m->experts;
    double best = -INFINITY, next = -INFINITY;
    int64_t expert = 0;
    for (int64_t e = 0; e < m->experts; e++) {  /* without branches, which nobody could foretell */
        const double worth = value[e] - m->price[e], lower = worth < best ? worth : best;
        next = next > lower ? next : lower;
        expert = worth > best ? e : expert;
        best = worth > best ? worth : best;
    }
    return (wish){expert, best, next};
}

static void run_phase(const market *m, double epsilon)
{
    int64_t waiting = 0;
    for (int64_t i = 0; i < m->experts * m->slots; i++) m->heap[i].owner = NOBODY;
    for (int64_t t = m->tokens; t-- > 0;) m->waiting[waiting++] = (int32_t)t;
    while (waiting > 0) {
        const int32_t token = m->waiting[--waiting];
        const wish w = best_of(m, token);
        slot *cheapest = &m->heap[w.expert * m->slots];
        if (cheapest->owner != NOBODY) m->waiting[waiting++] = cheapest->owner;
        cheapest->price += (m->experts > 1 ? w.best - w.next : 0) + epsilon;
        cheapest->owner = token;
        sink(cheapest, m->slots);
        m->price[w.expert] = cheapest->price;
    }
}

/* ---- scores ---- */

/* Finite scores from 0 to `range`, which it returns. What is masked costs more than a chain of exchanges through all
 * experts can gain. */
static double fill_values(const double *score, int64_t tokens, int64_t experts, double *value)
{
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < tokens * experts; i++) {
        if (!(score[i] > -INFINITY)) continue;
        low = fmin(low, score[i]);
        high = fmax(high, score[i]);
    }
    const double range = high > low ? high - low : 0, unit = range > 0 ? range : 1;
    for (int64_t i = 0; i < tokens * experts; i++)
        value[i] = score[i] > -INFINITY ? score[i] - low : -unit * (double)(experts + 1);
    return unit;
}

void cot_assign_balanced(const double *score, int64_t tokens, int64_t experts, double precision, void *memory,
                         int32_t *expert)
{
    const int64_t slots = (tokens + experts - 1) / experts;
    market m = {.tokens = slots * experts, .experts = experts, .slots = slots, .real = tokens, .value = memory};
    if (tokens == 0) return;
    m.price = m.value + (tokens + 1) * experts;
    m.heap = (slot *)(void *)(m.price + experts);
    m.waiting = (int32_t *)(void *)(m.heap + m.tokens);
    const double range = fill_values(score, tokens, experts, m.value), last = 0.99 * precision * range;
    for (int64_t i = 0; i < m.tokens; i++) m.heap[i] = (slot){0, NOBODY};
    for (int64_t e = 0; e < experts; e++) m.price[e] = m.value[tokens * experts + e] = 0;
    for (double epsilon = range * FIRST_EPSILON; epsilon > last; epsilon *= EPSILON_FACTOR) run_phase(&m, epsilon);
    run_phase(&m, last);
    for (int64_t i = 0; i < m.tokens; i++)
        if (m.heap[i].owner < tokens) expert[m.heap[i].owner] = (int32_t)(i / slots);
}
