/* Switch: every token goes to one expert, weighted by its probability over all experts, so that the router still has a
 * gradient. While training the router's input is multiplied by 1 +- jitter_eps; the expert sees the token as it is.
 *
 * Gates of a token do not sum to one: the probability of one choice is less than that.
 *
 * [fedus2021switch], sections 2.1 and 2.4. */
#include "ops/gate.h"
#include "ops/jitter.h"
#include "routers/router.h"

typedef struct {
    cot_router_common common;
    double            jitter_eps;
    cot_param        *weight;
} switch_state;

static const cot_option options[] = {
    COT_OPTION_DOUBLE(switch_state, jitter_eps, 1e-2, 0, 0.99,
                      "half width of the factor on the router's input while training; 0 turns it off"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    switch_state *s = r->state;
    r->top_k = 1;
    return cot_router_add_weight(r, build, "weight", false, &s->weight);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const switch_state *s = r->state;
    cot_tensor *x = cot_jitter(tape, in->x, s->jitter_eps, COT_RNG_JITTER + (uint32_t)r->build.layer);
    out->logits = cot_router_logits(r, tape, x, s->weight);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    cot_router_choose_with(r, tape, logits, in->bias, out);
    out->gate = cot_gate_gather(tape, out->probs, out->expert, 1);
}

const cot_router_ops cot_router_switch = {
    .member = {"switch", "fedus2021switch", "one expert per token, weighted by its probability", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT |
              COT_ROUTER_SCORES | COT_ROUTER_TAKES_BIAS,
    .lab_input = "\"bias\" (E, added to probabilities where experts are chosen)",
    .state_size = sizeof(switch_state),
    .setup = setup,
    .score = score,
    .select = select,
};
