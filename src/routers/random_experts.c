/* Two routers that draw.
 *
 * random: every token gets top_k experts by chance, anew each step, with gates 1 / top_k: the lower bound that a router has to
 * beat. In evaluation the draw goes by the token's position, so it repeats.
 *
 * thor: in training one expert for all tokens of a layer's batch, drawn anew each step (objective `consistency` ties two such
 * passes together). In evaluation (inference) token: an expert for each token, by position; sequence: one for all; average: all experts,
 * each 1 / E.
 *
 * The router lab's "noise" replaces uniform draws: the largest of a token's row win; thor takes floor(E u) with the first
 * draw. Logits play no part. thor's training draw does not depend on tokens at all.
 *
 * random: [roller2021hash], section 4; thor: [zuo2022taming], section 3 */
#include "ops/ragged_gate.h"
#include "ops/top_k_rows.h"
#include "ops/values.h"
#include "routers/router.h"

/* A uniform draw: the caller's, or by token in training and by position in evaluation. */
static double draw(const cot_router *r, const cot_tape *tape, const cot_route_input *in, int64_t t, int64_t e)
{
    const int64_t who = cot_tape_training(tape) || !in->position ? t : in->position[t];
    if (in->noise) return cot_value_at(in->noise, cot_tape_real(tape), t * r->num_experts + e);
    return cot_rng_uniform(cot_tape_rng(tape, COT_RNG_GATE_NOISE + (uint32_t)r->build.layer),
                           ((uint64_t)in->draw << 40) + (uint64_t)(who * r->num_experts + e));
}

static int32_t draw_expert(const cot_router *r, const cot_tape *tape, const cot_route_input *in, int64_t t)
{
    const int32_t e = (int32_t)(draw(r, tape, in, t, 0) * (double)r->num_experts);
    return e < 0 ? 0 : e < r->num_experts ? e : (int32_t)r->num_experts - 1;
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    out->logits = cot_router_no_logits(r, tape, in->tokens);
}

/* ---- random ---- */

typedef struct {
    cot_router_common common;
    int64_t           top_k;
} random_state;

static const cot_option random_options[] = {
    COT_OPTION_INT(random_state, top_k, 1, 1, 4096, "experts per token"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status random_setup(cot_router *r, const cot_build *build)
{
    (void)build;
    r->top_k = ((const random_state *)r->state)->top_k;
    return COT_OK;
}

static void random_select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    (void)scores;
    const int64_t experts = r->num_experts;
    cot_tensor *draws = cot_tape_matrix(tape, cot_tape_real(tape), in->tokens, experts, false);
    cot_routing_start(tape, in->tokens, experts, r->top_k, in->tokens * r->top_k, out);
    if (cot_tape_failed(tape)) return;
    for (int64_t i = 0; i < in->tokens * experts; i++)
        cot_value_set(draws->data, draws->dtype, i, draw(r, tape, in, i / experts, i % experts));
    cot_top_k_rows(tape, draws, r->top_k, out->expert);
    out->gate = cot_gate_constant(tape, out->assignments, 1.0 / (double)r->top_k);
}

const cot_router_ops cot_router_random = {
    .member = {"random", "roller2021hash", "experts by chance, anew each step; nothing is learned", random_options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_UNIT_GATES | COT_ROUTER_NO_LOGITS,
    .lab_input = "\"noise\" (T x E, uniform draws: the largest win)",
    .state_size = sizeof(random_state),
    .setup = random_setup,
    .score = score,
    .select = random_select,
};

/* ---- thor ---- */

typedef enum { TOKEN, SEQUENCE, AVERAGE } inference_kind;

typedef struct {
    cot_router_common common;
    int32_t           inference;
} thor_state;

static const cot_option thor_options[] = {
    COT_OPTION_CHOICE(thor_state, inference, TOKEN, "token|sequence|average",
                      "in evaluation: an expert for each token, one for all, or all of them averaged"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status thor_setup(cot_router *r, const cot_build *build)
{
    (void)build;
    r->choices = 1;
    return COT_OK;
}

static void thor_select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    (void)scores;
    const inference_kind kind = cot_tape_training(tape) ? SEQUENCE : (inference_kind)((const thor_state *)r->state)->inference;
    const int64_t k = kind == AVERAGE ? r->num_experts : 1;
    cot_routing_start(tape, in->tokens, r->num_experts, k, in->tokens * k, out);
    for (int64_t a = 0; a < out->assignments; a++)
        out->expert[a] = kind == AVERAGE ? (int32_t)(a % k) : draw_expert(r, tape, in, kind == TOKEN ? a : 0);
    out->gate = cot_gate_constant(tape, out->assignments, 1.0 / (double)k);
}

const cot_router_ops cot_router_thor = {
    .member = {"thor", "zuo2022taming", "one random expert for the whole batch in training", thor_options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_UNIT_GATES | COT_ROUTER_NO_LOGITS,
    .lab_input = "\"noise\" (T x E, uniform draws, of which column 0 counts), \"positions\"",
    .state_size = sizeof(thor_state),
    .setup = thor_setup,
    .score = score,
    .select = thor_select,
};
