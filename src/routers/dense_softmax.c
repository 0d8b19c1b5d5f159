/* Dense softmax mixture: every token goes to all experts, weighted by their probabilities. The reference for small
 * pools, and what sparse routers approximate; costs as much as all experts together. Two such layers, one behind the
 * other, are the stacked form of [eigen2014learning]; its constraint is the balance rule mean_assignment.
 *
 * [jacobs1991adaptive], eq. 1 */
#include "ops/gate.h"
#include "routers/router.h"

typedef struct {
    cot_router_common common;
    cot_param        *weight;
} dense_softmax;

static const cot_option options[] = {
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    dense_softmax *s = r->state;
    r->top_k = r->num_experts;
    return cot_router_add_weight(r, build, "weight", false, &s->weight);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const dense_softmax *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    (void)in;
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    cot_router_choose(r, tape, logits, logits, out);
    out->gate = cot_gate_gather(tape, out->probs, out->expert, r->top_k);
}

const cot_router_ops cot_router_dense_softmax = {
    .member = {"dense_softmax", "jacobs1991adaptive", "all experts, weighted by their probabilities", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT |
              COT_ROUTER_UNIT_GATES | COT_ROUTER_SCORES,
    .state_size = sizeof(dense_softmax),
    .setup = setup,
    .score = score,
    .select = select,
};
