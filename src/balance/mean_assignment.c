/* The constraint on mean assignment: no loss, a rule. Running totals count what experts were given; while an expert's total lies
 * more than `margin` above the mean of all, it is left out for the token, and the token's gates are a softmax over the others.
 * Totals then grow by these gates. It applies in training only; the paper turns it off for the last phase.
 *
 * Tokens are taken in order, so earlier ones decide what later ones may use, never the reverse. The totals of a step start where
 * the former step ended and are saved with the model.
 *
 * [eigen2014learning], section 3.2; the paper does not give its margin */
#include <math.h>

#include "balance/balance.h"
#include "ops/values.h"

typedef struct {
    cot_balance_common common;
    double             margin;
} mean_assignment;

static const cot_option options[] = {
    COT_OPTION_DOUBLE(mean_assignment, margin, 10, 0, 1e12, "how far above the mean an expert's total may be, in tokens"),
    COT_OPTION_END,
};

/* One token: marks who is blocked, and adds the gates of the others to totals. */
static void constrain_token(const mean_assignment *s, const cot_tensor *logits, int64_t t, double *totals, uint8_t *blocked)
{
    const int64_t experts = cot_tensor_columns(logits);
    double mean = 0, largest = -INFINITY, sum = 0;
    for (int64_t e = 0; e < experts; e++) mean += totals[e] / (double)experts;
    for (int64_t e = 0; e < experts; e++) {
        blocked[e] = totals[e] - mean > s->margin;
        if (!blocked[e]) largest = fmax(largest, cot_value_at(logits->data, logits->dtype, t * experts + e));
    }
    if (largest == -INFINITY) return;
    for (int64_t e = 0; e < experts; e++)
        sum += blocked[e] ? 0 : exp(cot_value_at(logits->data, logits->dtype, t * experts + e) - largest);
    for (int64_t e = 0; e < experts; e++)
        if (!blocked[e]) totals[e] += exp(cot_value_at(logits->data, logits->dtype, t * experts + e) - largest) / sum;
}

static void constrain(const cot_balance *rule, const cot_tensor *logits, const uint8_t *padding, double *totals, uint8_t *blocked)
{
    const int64_t tokens = cot_tensor_rows(logits), experts = cot_tensor_columns(logits);
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t e = 0; e < experts; e++) blocked[t * experts + e] = 0;
        if (!padding || !padding[t]) constrain_token(rule->state, logits, t, totals, blocked + t * experts);
    }
}

const cot_balance_ops cot_balance_mean_assignment = {
    .member = {"mean_assignment", "eigen2014learning", "leaves out experts whose total is too far above the mean", options},
    .state_size = sizeof(mean_assignment),
    .constrain = constrain,
};
