/* Cosine routing: logits are the cosine between a learned projection of the token and learned expert embeddings, over a
 * learned temperature that has a lower bound. Norms play no part, which keeps tokens from being drawn to expert embeddings
 * (representation collapse). Gates are a softmax over the chosen logits (norm_topk_prob) or probabilities over all; with
 * one expert per token take the latter, else nothing trains the router.
 *
 * [chi2022representation], section 3.2; options as in [hwang2023tutel], whose temperature starts at 0.5 and stays above 0.01 */
#include "ops/cosine.h"
#include "ops/router_linear.h"
#include "ops/gate.h"
#include "routers/router.h"

typedef struct {
    cot_router_common common;
    int64_t           top_k, proj_dim;
    double            init_temperature, min_temperature;
    bool              norm_topk_prob;
    cot_param        *projection, *weight, *temperature;
} cosine;

static const cot_option options[] = {
    COT_OPTION_INT(cosine, top_k, 1, 1, 4096, "experts per token"),
    COT_OPTION_INT(cosine, proj_dim, 256, 1, 1 << 20, "width of the projection"),
    COT_OPTION_DOUBLE(cosine, init_temperature, 0.5, 1e-6, 1e6, "temperature at the start"),
    COT_OPTION_DOUBLE(cosine, min_temperature, 0.01, 1e-6, 1e6, "its lower bound"),
    COT_OPTION_BOOL(cosine, norm_topk_prob, false, "gates are a softmax over the chosen logits"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    cosine *s = r->state;
    r->top_k = s->top_k;
    if (!build->params) return COT_OK;
    COT_TRY(cot_build_weight(build, "projection.weight", 0, s->proj_dim, build->hidden_size, &s->projection));
    COT_TRY(cot_build_weight(build, "weight", 0, r->num_experts, s->proj_dim, &s->weight));
    return cot_build_vector(build, "temperature", 1, COT_INIT_ZERO, &s->temperature);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const cosine *s = r->state;
    cot_tensor *token = cot_unit_rows(tape, cot_router_logits(r, tape, in->x, s->projection));
    cot_tensor *expert = cot_unit_rows(tape, cot_tape_param(tape, s->weight));
    cot_tensor *cosines = cot_router_linear(tape, token, expert);
    out->logits = cot_over_temperature(tape, cosines, cot_tape_param(tape, s->temperature), s->init_temperature, s->min_temperature);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    const cosine *s = r->state;
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    cot_router_choose_with(r, tape, logits, in->bias, out);
    out->gate = s->norm_topk_prob ? cot_gate_softmax(tape, logits, out->expert, r->top_k)
                                  : cot_gate_gather(tape, out->probs, out->expert, r->top_k);
}

const cot_router_ops cot_router_cosine = {
    .member = {"cosine", "chi2022representation, hwang2023tutel", "cosine to expert embeddings over a learned temperature", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT |
              COT_ROUTER_SCORES | COT_ROUTER_TAKES_BIAS,
    .lab_input = "\"bias\" (E, added to probabilities where experts are chosen)",
    .state_size = sizeof(cosine),
    .setup = setup,
    .score = score,
    .select = select,
};
