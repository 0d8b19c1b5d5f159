/* BASE: in training every expert gets the same number of tokens, the assignment with the largest total score (an auction,
 * src/routing/auction.h); in evaluation every token goes to its best expert, since balance would look ahead. The gate is
 * the sigmoid of the token's own score, and the only thing that trains the router. No balance loss, no capacity.
 *
 * Where the number of experts does not divide that of tokens, experts take up to ceil(T / E): counts such as 2, 2, 0 for
 * four tokens and three experts can occur. Training is not causal, and its outcome, within `precision` of the optimum,
 * depends on the order of tokens and experts: no traits of equivariance. Tokens are balanced in groups of group_size.
 *
 * The paper's expert is the pool `stack`: residual sublayers, of which a token gets gate * (N(x) - x).
 *
 * [lewis2021base], section 3.1 and algorithm 1; the auction [bertsekas1989auction] */
#include "ops/ragged_gate.h"
#include "ops/row_maps.h"
#include "ops/softmax.h"
#include "ops/top_k_rows.h"
#include "ops/values.h"
#include "routers/router.h"
#include "routing/auction.h"

typedef struct {
    cot_router_common common;
    double            precision;
    int64_t           group_size;
    cot_param        *weight;
} base;

static const cot_option options[] = {
    COT_OPTION_DOUBLE(base, precision, 1e-4, 1e-9, 1, "how far the total may be from the best one, in score ranges per token"),
    COT_ROUTER_GROUP_OPTION(base),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    base *s = r->state;
    r->top_k = 1;
    r->group_size = s->group_size;
    return cot_router_add_weight(r, build, "weight", false, &s->weight);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const base *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
}

/* Replaces the best experts by the balanced assignment, group by group. */
static void balance(const cot_router *r, cot_tape *tape, cot_runs groups, const cot_tensor *logits, int32_t *expert)
{
    const base *s = r->state;
    const int64_t tokens = cot_tensor_rows(logits), experts = r->num_experts;
    const size_t mark = cot_tape_scratch_mark(tape);
    double *scores = cot_tape_scratch(tape, (size_t)(tokens * experts) * sizeof *scores);
    void *memory = cot_tape_scratch(tape, cot_assign_bytes(tokens, experts));
    if (cot_tape_failed(tape)) return;
    for (int64_t i = 0; i < tokens * experts; i++) scores[i] = cot_value_at(logits->data, logits->dtype, i);
    for (int64_t g = 0; g < cot_runs_number(groups); g++) {
        const int64_t from = cot_runs_from(groups, g), to = cot_runs_to(groups, g, tokens);
        cot_assign_balanced(scores + from * experts, to - from, experts, s->precision, memory, expert + from);
    }
    cot_tape_scratch_release(tape, mark);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    cot_router_choose(r, tape, logits, logits, out);
    if (cot_tape_failed(tape)) return;
    if (cot_tape_training(tape)) balance(r, tape, in->groups, logits, out->expert);
    out->gate = cot_gate_pick(tape, cot_sigmoid(tape, logits), out->token, out->expert, out->assignments, 1);
}

const cot_router_ops cot_router_base = {
    .member = {"base", "lewis2021base", "balanced assignment by auction in training, the best expert in evaluation", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_SCORES,
    .lab_input = "\"group\" (lengths: tokens that are balanced together), with \"training\"",
    .state_size = sizeof(base),
    .setup = setup,
    .score = score,
    .select = select,
};
