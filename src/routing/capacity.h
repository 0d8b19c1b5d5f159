/* Capacity: how many tokens an expert takes, and who loses when it is short.   [fedus2021switch], section 2.2;
 * [riquelme2021vmoe], section 3.4
 *
 *   C = round(capacity_factor * k * T / E), no less than min_capacity and not clamped to T
 *
 * Where a router routes groups of tokens by themselves, T is a group's and every group has C slots of its own.
 * Slots fill choice by choice: all first choices in the order of the policy, then all second ones. A choice that finds
 * its expert full is dropped (slot -1); the gates of the others stay as they are, unless `renormalize`. */
#ifndef COT_ROUTING_CAPACITY_H
#define COT_ROUTING_CAPACITY_H

#include "base/options.h"
#include "routing/routing.h"

typedef enum {
    COT_CAPACITY_POSITION,           /* earlier tokens first */
    COT_CAPACITY_PROBABILITY,        /* larger router probability of the choice first */
    COT_CAPACITY_RANDOM,             /* an order drawn anew each step */
    COT_CAPACITY_BATCH_PRIORITISED,  /* tokens by their largest probability, for every choice */
} cot_capacity_policy;

typedef struct {
    double  capacity_factor;
    int32_t policy;            /* cot_capacity_policy */
    int64_t min_capacity;
    int32_t round;             /* 0 up, 1 down */
    bool    renormalize;
} cot_capacity;

extern const cot_option cot_capacity_options[];  /* what a recipe's `capacity: {...}` may set */

/* Slots per expert for k choices of each of T tokens, at least 1 when min_capacity is. */
int64_t cot_capacity_slots(const cot_capacity *capacity, double k, int64_t tokens, int64_t experts);

/* Fills slot, capacity and dropped of a routing, and its gates anew with `renormalize`. k is top_k, or the mean number of
 * choices of a token where that varies. capacity NULL = dropless: slots count on, nothing is dropped. `layer` makes
 * random orders differ between layers. Ties go to the earlier token. */
void cot_capacity_apply(cot_tape *tape, const cot_capacity *capacity, uint32_t layer, cot_routing *routing);

#endif
