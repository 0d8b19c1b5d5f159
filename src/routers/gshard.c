/* GShard's top-2: the first expert always, the second one by chance, in proportion to its weight. Both weights are a
 * softmax over the two logits, and the first stays as it is when the second is skipped or full (capacity's `renormalize`
 * is the variant that divides anew). Tokens are routed in groups, each with slots of its own.
 *
 *   second_policy: random      used when a uniform draw r < w2 / threshold; 0.5 is the paper's 2 w2 > r
 *                  all, none   always, never
 *                  threshold   used when w2 > threshold
 *                  sampling    the second is drawn from the softmax without the first, and always used
 *   counter: always            a skipped second choice takes up a slot all the same (paper, algorithm 1)
 *            passed            it does not (released code)
 *
 * While evaluating, nothing is drawn: random and sampling use the second expert always. A draw stands at a token's first
 * expert column for random, one for each expert for sampling. Gates do not sum to one where the second is skipped.
 *
 * [lepikhin2020gshard], section 2.2 and algorithm 1; threshold and sampling from its released code. */
#include <math.h>
#include <string.h>

#include "ops/gate.h"
#include "ops/ragged_gate.h"
#include "ops/values.h"
#include "routers/router.h"

typedef enum { RANDOM, ALL, NONE, THRESHOLD, SAMPLING } policy;

typedef struct {
    cot_router_common common;
    int32_t           second_policy;
    double            threshold;
    int32_t           counter;  /* 0 always, 1 passed */
    int64_t           group_size;
    cot_param        *weight;
} gshard;

static const cot_option options[] = {
    COT_OPTION_CHOICE(gshard, second_policy, RANDOM, "random|all|none|threshold|sampling",
                      "when the second expert is used; while evaluating, random and sampling mean all"),
    COT_OPTION_DOUBLE(gshard, threshold, 0.5, 1e-9, 1, "of random and threshold; 0.5 is the paper's, 0.2 its code's"),
    COT_OPTION_CHOICE(gshard, counter, 0, "always|passed", "whether a skipped second choice takes up a slot"),
    COT_ROUTER_GROUP_OPTION(gshard),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    gshard *s = r->state;
    r->top_k = r->num_experts < 2 ? 1 : 2;
    r->group_size = s->group_size;
    return cot_router_add_weight(r, build, "weight", false, &s->weight);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const gshard *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
}

/* A uniform draw for a token and an expert: the caller's, or the router's own. */
static double draw(const cot_router *r, const cot_tape *tape, const cot_route_input *in, int64_t token, int64_t expert)
{
    const int64_t i = token * r->num_experts + expert;
    if (in->noise) return cot_value_at(in->noise, cot_tape_real(tape), i);
    return cot_rng_uniform(cot_tape_rng(tape, COT_RNG_GATE_NOISE + (uint32_t)r->build.layer), (uint64_t)i);
}

/* The second expert by Gumbel-max over the logits without the first. */
static int32_t sample_second(const cot_router *r, const cot_tape *tape, const cot_route_input *in, const cot_tensor *logits,
                             int64_t token, int32_t first, int32_t otherwise)
{
    double best = -INFINITY;
    int32_t chosen = otherwise;
    for (int64_t e = 0; e < r->num_experts; e++) {
        const double h = cot_value_at(logits->data, logits->dtype, token * r->num_experts + e);
        if (e == first || h == -INFINITY) continue;
        const double key = h - log(-log(draw(r, tape, in, token, e)));
        if (key > best) best = key, chosen = (int32_t)e;
    }
    return chosen;
}

static void sample(const cot_router *r, const cot_tape *tape, const cot_route_input *in, cot_routing *out)
{
    for (int64_t t = 0; t < out->tokens; t++)
        out->expert[2 * t + 1] = sample_second(r, tape, in, out->logits, t, out->expert[2 * t], out->expert[2 * t + 1]);
}

static bool keeps_second(const cot_router *r, const cot_tape *tape, const cot_route_input *in, int64_t token, double w2)
{
    const gshard *s = r->state;
    switch ((policy)s->second_policy) {
    case NONE: return false;
    case THRESHOLD: return w2 > s->threshold;
    case RANDOM: return !cot_tape_training(tape) || draw(r, tape, in, token, 0) < w2 / s->threshold;
    case ALL:
    case SAMPLING: break;
    }
    return true;
}

/* Marks second choices that are not used, and takes their weight. */
static void skip_seconds(const cot_router *r, cot_tape *tape, const cot_route_input *in, cot_routing *out)
{
    cot_tensor *use = cot_gate_constant(tape, out->assignments, 1);
    if (cot_tape_failed(tape)) return;
    for (int64_t t = 0; t < out->tokens; t++) {
        const int64_t a = 2 * t + 1;
        if (keeps_second(r, tape, in, t, cot_value_at(out->gate->data, out->gate->dtype, a))) continue;
        out->slot[a] = COT_SLOT_SKIPPED;
        out->skipped++;
        cot_value_set(use->data, use->dtype, a, 0);
    }
    if (out->skipped) out->gate = cot_gate_times(tape, out->gate, use);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    const gshard *s = r->state;
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    cot_router_choose(r, tape, logits, logits, out);
    if (cot_tape_failed(tape)) return;
    if (r->top_k == 2 && s->second_policy == SAMPLING && cot_tape_training(tape)) sample(r, tape, in, out);
    out->gate = cot_router_round(r, tape, cot_gate_softmax(tape, logits, out->expert, r->top_k));
    out->skipped_hold_slots = s->counter == 0;
    if (r->top_k == 2 && !cot_tape_failed(tape)) skip_seconds(r, tape, in, out);
}

const cot_router_ops cot_router_gshard = {
    .member = {"gshard", "lepikhin2020gshard", "top-2 in groups, the second expert by chance", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT |
              COT_ROUTER_UNIT_GATES | COT_ROUTER_SCORES,
    .lab_input = "\"noise\" (T x E, uniform draws: column 0 for random, all for sampling), \"group\" (lengths), with \"training\"",
    .state_size = sizeof(gshard),
    .setup = setup,
    .score = score,
    .select = select,
};
