/* Routing as a policy: in training an expert is drawn from the softmax of the logits (or by epsilon-greedy choice, the bandit
 * view), in evaluation the best one is taken. The expert's output is not weighted, so the router learns from the reward alone,
 * by the score-function estimator:
 *
 *     policy_coef * -(1 / T) sum over t of (R_t - b) ln p(chosen) - entropy_coef * mean entropy of p
 *
 * R_t is minus the token's cross-entropy, known once the loss is; b is the mean reward of earlier steps (baseline: mean), saved
 * with the model, or 0. Balance rules (aux) keep the policy from collapsing. A nucleus of mass top_p is what draws are
 * restricted to; ln p stays that of the whole softmax (slightly biased, simple). Layers with it are not recomputed.
 *
 * The router lab takes "reward" (T numbers) and, as "noise", one uniform draw a token (column 0): the first expert at which the
 * cumulative probability exceeds it. Epsilon-greedy: a draw below epsilon takes expert floor(E draw / epsilon), any other the
 * best.
 *
 * [clark2022unified], section 3.2; [bengio2015conditional], [rosenbaum2018routing]; [williams1992simple]. Coefficients are not
 * published: policy_coef and entropy_coef are guesses. */
#include <math.h>

#include "ops/gate.h"
#include "ops/policy_loss.h"
#include "ops/probability_losses.h"
#include "ops/ragged_gate.h"
#include "ops/values.h"
#include "ops/weighted_sum.h"
#include "routers/router.h"

typedef enum { SAMPLE, EPSILON_GREEDY } exploration_kind;

typedef struct {
    cot_router_common common;
    int32_t           exploration, baseline;  /* exploration_kind; 0 none, 1 mean */
    double            epsilon, top_p, policy_coef, entropy_coef, momentum;
    cot_param        *weight, *mean;          /* mean: [2] buffer, the mean reward and how many steps it has seen */
    double            sum;                    /* of rewards in this step */
    int64_t           count;
} reinforce;

static const cot_option options[] = {
    COT_OPTION_CHOICE(reinforce, exploration, SAMPLE, "sample|epsilon_greedy", "how training explores"),
    COT_OPTION_DOUBLE(reinforce, epsilon, 0.05, 0, 1, "of epsilon_greedy: share of tokens with an expert by chance"),
    COT_OPTION_DOUBLE(reinforce, top_p, 1, 1e-6, 1, "of sample: mass of the most probable experts that draws are restricted to"),
    COT_OPTION_CHOICE(reinforce, baseline, 1, "none|mean", "what is taken off the reward"),
    COT_OPTION_DOUBLE(reinforce, momentum, 0.9, 0, 1, "of the mean reward over steps"),
    COT_OPTION_DOUBLE(reinforce, policy_coef, 0.01, 0, 1e6, "weight of the policy's loss; 1 in the router lab shows it plain"),
    COT_OPTION_DOUBLE(reinforce, entropy_coef, 0.001, 0, 1e6, "weight of the entropy that is rewarded"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    reinforce *s = r->state;
    r->top_k = 1;
    COT_TRY(cot_router_add_weight(r, build, "weight", false, &s->weight));
    if (!build->params) return COT_OK;
    COT_TRY(cot_build_vector(build, "mean_reward", 2, COT_INIT_ZERO, &s->mean));
    s->mean->spec.update = COT_UPDATE_BUFFER;
    return COT_OK;
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const reinforce *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
}

/* ---- acting ---- */

static double draw(const cot_router *r, const cot_tape *tape, const cot_route_input *in, int64_t t)
{
    const int64_t i = t * r->num_experts;
    if (in->noise) return cot_value_at(in->noise, cot_tape_real(tape), i);
    return cot_rng_uniform(cot_tape_rng(tape, COT_RNG_GATE_NOISE + (uint32_t)r->build.layer), (uint64_t)i);
}

/* The probability below which an expert is outside the nucleus. */
static double least_probable(const double *p, int64_t experts, double top_p)
{
    double least = 0, mass = 1;
    while (top_p < 1) {  /* take away the least probable ones while enough is left */
        double smallest = INFINITY, gone = 0;
        for (int64_t e = 0; e < experts; e++)
            if (p[e] > least && p[e] < smallest) smallest = p[e];
        for (int64_t e = 0; e < experts; e++) gone += p[e] == smallest ? smallest : 0;
        if (smallest == INFINITY || mass - gone < top_p) break;
        mass -= gone;
        least = smallest;
    }
    return least;
}

static int32_t sample(const double *p, int64_t experts, double top_p, double u, int32_t best)
{
    const double least = least_probable(p, experts, top_p);
    double mass = 0, sum = 0;
    for (int64_t e = 0; e < experts; e++) mass += p[e] > least ? p[e] : 0;
    for (int64_t e = 0; e < experts; e++) {
        if (!(p[e] > least)) continue;
        sum += p[e];
        if (u * mass < sum) return (int32_t)e;
    }
    return best;
}

static int32_t act(const cot_router *r, const double *p, double u, int32_t best)
{
    const reinforce *s = r->state;
    if (s->exploration == SAMPLE) return sample(p, r->num_experts, s->top_p, u, best);
    if (!(u < s->epsilon)) return best;
    const int32_t e = (int32_t)(u / s->epsilon * (double)r->num_experts);
    return e < r->num_experts && p[e] > 0 ? e : best;
}

static void explore(const cot_router *r, cot_tape *tape, const cot_route_input *in, cot_routing *out)
{
    const int64_t experts = r->num_experts;
    const size_t mark = cot_tape_scratch_mark(tape);
    double *p = cot_tape_scratch(tape, (size_t)experts * sizeof *p);
    for (int64_t t = 0; p && t < out->tokens; t++) {
        for (int64_t e = 0; e < experts; e++) p[e] = cot_value_at(out->probs->data, out->probs->dtype, t * experts + e);
        out->expert[t] = act(r, p, draw(r, tape, in, t), out->expert[t]);
    }
    cot_tape_scratch_release(tape, mark);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    cot_router_choose(r, tape, logits, logits, out);
    if (cot_tape_failed(tape)) return;
    if (cot_tape_training(tape)) explore(r, tape, in, out);
    out->gate = cot_gate_constant(tape, out->assignments, 1);
}

/* ---- learning ---- */

static double baseline(const reinforce *s)
{
    return s->baseline == 1 && s->mean ? cot_value_at(s->mean->value.data, s->mean->value.dtype, 0) : 0;
}

static cot_tensor *reward_loss(cot_router *r, cot_tape *tape, const cot_routing *routing, const double *reward)
{
    reinforce *s = r->state;
    int32_t *chosen = cot_tape_alloc(tape, (size_t)routing->assignments * sizeof *chosen);
    double *rewards = cot_tape_alloc(tape, (size_t)routing->assignments * sizeof *rewards);
    for (int64_t t = 0; !cot_tape_failed(tape) && t < routing->assignments; t++) {
        const double own = reward[routing->token[t]];
        chosen[t] = routing->slot[t] >= 0 && isfinite(own) ? routing->expert[t] : -1;
        rewards[t] = isfinite(own) ? own : 0;
        s->sum += rewards[t];
        s->count += isfinite(own);
    }
    cot_tensor *terms[2];
    terms[0] = cot_policy_loss(tape, routing->clean_logits, chosen, rewards, baseline(s), s->policy_coef);
    terms[1] = cot_mean_entropy(tape, routing->probs, -s->entropy_coef);
    return cot_weighted_sum(tape, terms, NULL, s->entropy_coef > 0 ? 2 : 1);
}

static void begin_step(cot_router *r)
{
    reinforce *s = r->state;
    s->sum = 0;
    s->count = 0;
}

/* The mean reward follows; the first step sets it. */
static void end_step(cot_router *r)
{
    reinforce *s = r->state;
    if (!s->count) return;
    const cot_tensor *value = &s->mean->value;
    const double now = s->sum / (double)s->count, old = cot_value_at(value->data, value->dtype, 0);
    const bool first = cot_value_at(value->data, value->dtype, 1) == 0;
    cot_value_set(value->data, value->dtype, 0, first ? now : s->momentum * old + (1 - s->momentum) * now);
    cot_value_put(value->data, value->dtype, 1, 1, true);
    s->mean->version++;
}

const cot_router_ops cot_router_reinforce = {
    .member = {"reinforce", "clark2022unified, williams1992simple", "a policy that learns from the tokens' losses (RL-R, bandit)", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT |
              COT_ROUTER_UNIT_GATES | COT_ROUTER_SCORES,
    .lab_input = "\"reward\" (T, for the policy's loss), \"noise\" (T x E, uniform draws, of which column 0 counts), with \"training\"",
    .state_size = sizeof(reinforce),
    .setup = setup,
    .begin_step = begin_step,
    .end_step = end_step,
    .reward_loss = reward_loss,
    .score = score,
    .select = select,
};
