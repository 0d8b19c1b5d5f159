/* The balance family: what keeps the pool of experts evenly used. A rule reads a routing and returns a loss, or moves the bias
 * by which a router chooses. */
#ifndef COT_BALANCE_BALANCE_H
#define COT_BALANCE_BALANCE_H

#include "base/family.h"
#include "routing/routing.h"
#include "tensor/tape.h"

typedef struct cot_balance cot_balance;

typedef struct cot_balance_ops {
    cot_member member;      /* its options include COT_BALANCE_OPTIONS(default), if it has a loss */
    size_t     state_size;  /* of the member's own struct, which starts with a cot_balance_common */
    bool       reads_shares, reads_logits;  /* what the loss needs of the router */
    /* (optional) A real scalar on the tape, already times coef. The routing is as the router left it: capacity does not
     * matter. */
    cot_tensor *(*loss)(const cot_balance *rule, cot_tape *tape, const cot_routing *routing);
    /* (optional) In training, before the choice: blocked [T, E] = 1 where an expert may not be used, by and onto totals [E] of what
     * experts were given so far. padding [T] or NULL. */
    void (*constrain)(const cot_balance *rule, const cot_tensor *logits, const uint8_t *padding, double *totals, uint8_t *blocked);
    /* (optional) After a step: moves the bias [E] by the assignments [E] that experts received in it. Such a rule needs a
     * router that takes a bias. */
    void (*update_bias)(const cot_balance *rule, const int64_t *counts, int64_t experts, double *bias);
} cot_balance_ops;

/* What the state of every rule with a loss starts with. */
typedef struct {
    double coef;
} cot_balance_common;

#define COT_BALANCE_OPTIONS(value) COT_OPTION_DOUBLE(cot_balance_common, coef, value, 0, 1e6, "weight of this loss")

struct cot_balance {
    const cot_balance_ops *ops;
    void                  *state;
};

const cot_member *cot_balance_at(size_t index);

/* Makes the rule that spec ({kind: aux, coef: 0.01, ...}) asks for. */
cot_status cot_balance_create(const cot_config *spec, cot_balance **out);
void       cot_balance_destroy(cot_balance *rule);  /* accepts NULL */

/* Does the router form what the rule reads? */
bool cot_balance_fits(const cot_balance *rule, const cot_routing *routing);

/* Fails the tape with COT_INVALID where it does not. */
cot_tensor *cot_balance_loss(const cot_balance *rule, cot_tape *tape, const cot_routing *routing);

static inline double cot_balance_coef(const cot_balance *rule)
{
    return ((const cot_balance_common *)rule->state)->coef;
}

#endif
