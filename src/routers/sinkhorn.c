/* S-BASE: in training a token goes to its best experts under the transport plan that gives every expert as much as every
 * other (Sinkhorn's alternation over the tokens of a group); in evaluation to those with the largest logits. Gates come
 * from the raw scores: a sigmoid for one expert, probabilities for several. The plan has no gradient and there is no
 * balance loss. Balance is good and not exact: experts under the plan's best choice differ, and a capacity of twice the
 * average guards against the rest.
 *
 * Training is not causal: a token's experts depend on the others of its group. With all logits equal, ties would send
 * everything to expert 0; spread_ties adds a tiny seeded draw in training. Gates do not sum to one.
 *
 * [clark2022unified], section 3.1 and appendix B; the stopping rule and gates are not stated there. [sinkhorn1967concerning] */
#include <math.h>

#include "ops/gate.h"
#include "ops/ragged_gate.h"
#include "ops/row_maps.h"
#include "ops/sinkhorn.h"
#include "ops/top_k_rows.h"
#include "ops/values.h"
#include "routers/router.h"

typedef struct {
    cot_router_common common;
    int64_t           top_k, max_iterations, group_size;
    double            tolerance;
    bool              spread_ties;
    cot_param        *weight;
} sinkhorn;

static const cot_option options[] = {
    COT_OPTION_INT(sinkhorn, top_k, 1, 1, 4096, "experts per token"),
    COT_OPTION_DOUBLE(sinkhorn, tolerance, 1e-4, 0, 1, "stops when no expert's shift changes by more"),
    COT_OPTION_INT(sinkhorn, max_iterations, 100, 1, 1e6, "alternations at most"),
    COT_OPTION_BOOL(sinkhorn, spread_ties, false, "break ties by a seeded draw in training, not by index"),
    COT_ROUTER_GROUP_OPTION(sinkhorn),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    sinkhorn *s = r->state;
    r->top_k = s->top_k;
    r->group_size = s->group_size;
    return cot_router_add_weight(r, build, "weight", false, &s->weight);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const sinkhorn *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
}

/* A draw too small to matter but where nothing else decides. */
static double tie_breaker(const cot_router *r, const cot_tape *tape, int64_t i)
{
    const sinkhorn *s = r->state;
    if (!s->spread_ties) return 0;
    return 1e-6 * cot_rng_uniform(cot_tape_rng(tape, COT_RNG_GATE_NOISE + (uint32_t)r->build.layer), (uint64_t)i);
}

/* One row of what ranks as the plan does: logits plus shifts, counted from the largest. Rounded to 1e-9, so that entries of
 * the plan which differ by rounding alone tie. */
static void rank_row(const cot_router *r, const cot_tape *tape, const cot_tensor *logits, int64_t t, const double *shift,
                     cot_tensor *ranked)
{
    const int64_t experts = r->num_experts;
    double largest = -INFINITY;
    for (int64_t e = 0; e < experts; e++)
        largest = fmax(largest, cot_value_at(logits->data, logits->dtype, t * experts + e) + shift[e]);
    for (int64_t e = 0; e < experts; e++) {
        const int64_t i = t * experts + e;
        const double below = cot_value_at(logits->data, logits->dtype, i) + shift[e] - largest;
        cot_value_set(ranked->data, ranked->dtype, i, nearbyint(below * 1e9) * 1e-9 + tie_breaker(r, tape, i));
    }
}

/* The plan's ranks, group by group. Constant. */
static cot_tensor *plan_ranks(const cot_router *r, cot_tape *tape, cot_runs groups, const cot_tensor *logits)
{
    const sinkhorn *s = r->state;
    const int64_t tokens = cot_tensor_rows(logits), experts = r->num_experts;
    cot_tensor *ranked = cot_tape_matrix(tape, logits->dtype, tokens, experts, false);
    double *shift = cot_tape_alloc(tape, (size_t)experts * sizeof *shift);
    if (cot_tape_failed(tape)) return ranked;
    for (int64_t g = 0; g < cot_runs_number(groups); g++) {
        const int64_t from = cot_runs_from(groups, g), to = cot_runs_to(groups, g, tokens);
        cot_sinkhorn(tape, logits, from, to, s->tolerance, s->max_iterations, shift);
        for (int64_t t = from; t < to && !cot_tape_failed(tape); t++) rank_row(r, tape, logits, t, shift, ranked);
    }
    return ranked;
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    cot_router_check_finite(tape, logits);
    if (cot_tape_failed(tape)) return;
    cot_tensor *ranked = cot_tape_training(tape) ? plan_ranks(r, tape, in->groups, logits) : logits;
    cot_router_choose(r, tape, logits, ranked, out);
    out->logits = logits;
    if (cot_tape_failed(tape)) return;
    cot_tensor *from = r->top_k == 1 ? cot_sigmoid(tape, logits) : out->probs;
    out->gate = cot_gate_gather(tape, from, out->expert, r->top_k);
}

const cot_router_ops cot_router_sinkhorn = {
    .member = {"sinkhorn", "clark2022unified, sinkhorn1967concerning", "the best experts under an entropic transport plan (S-BASE)",
               options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT | COT_ROUTER_SCORES,
    .lab_input = "\"group\" (lengths: tokens that are balanced together), with \"training\"",
    .state_size = sizeof(sinkhorn),
    .setup = setup,
    .score = score,
    .select = select,
};
