/* Strictly balanced gating: of the tokens of a batch, every expert takes exactly m = ceil(top_k T / E), those of largest
 * probability; a token's gates are its probabilities over their sum, and a token that nobody takes passes by. Small batches
 * at inference know no such rule: there, an expert takes the tokens whose probability exceeds a threshold that training has
 * learned. The thresholds' loss,
 *
 *     threshold_coef * sum over t and i of (M_threshold - M_batch)[t, i] * (p[t, i] - threshold_i),
 *
 * is nowhere negative, 0 where both rules agree, and trains thresholds alone (the paper leaves open whether p takes part).
 *
 * Training looks at the whole batch: not causal. The router lab takes "thresholds" and, without them, uses the batch rule
 * in evaluation too. Gates of a token that nobody takes do not sum to one.
 *
 * [shazeer2017outrageously], appendix F */
#include <math.h>

#include "ops/ragged_gate.h"
#include "ops/softmax.h"
#include "ops/threshold_loss.h"
#include "ops/values.h"
#include "routers/column_choice.h"

typedef struct {
    cot_router_common common;
    int64_t           top_k;
    double            threshold_coef;
    int64_t           group_size;
    cot_param        *weight, *threshold;  /* threshold: less 1 / E, so that it starts at 0 */
} batchwise;

static const cot_option options[] = {
    COT_OPTION_INT(batchwise, top_k, 2, 1, 4096, "experts per token on average"),
    COT_OPTION_DOUBLE(batchwise, threshold_coef, 1e-3, 0, 1e6, "weight of the loss that trains thresholds"),
    COT_ROUTER_GROUP_OPTION(batchwise),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    batchwise *s = r->state;
    r->choices = (double)s->top_k;
    r->group_size = s->group_size;
    COT_TRY(cot_router_add_weight(r, build, "weight", false, &s->weight));
    return build->params ? cot_build_vector(build, "threshold", r->num_experts, COT_INIT_ZERO, &s->threshold) : COT_OK;
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const batchwise *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
}

/* Thresholds less 1 / E, [E]: the learned ones, or the lab's. NULL when there are none. */
static cot_tensor *thresholds(const cot_router *r, cot_tape *tape, const cot_route_input *in)
{
    const batchwise *s = r->state;
    if (s->threshold) return cot_tape_param(tape, s->threshold);
    if (!in->thresholds) return NULL;
    cot_tensor *t = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){r->num_experts}, false);
    for (int64_t e = 0; e < r->num_experts && !cot_tape_failed(tape); e++)
        cot_value_set(t->data, t->dtype, e, in->thresholds[e] - 1.0 / (double)r->num_experts);
    return t;
}

/* Fills place by the batch rule; returns m of the largest group. */
static int64_t pick_by_batch(const cot_router *r, cot_tape *tape, cot_runs groups, const cot_tensor *logits, int32_t *place)
{
    const batchwise *s = r->state;
    const int64_t tokens = cot_tensor_rows(logits), experts = r->num_experts;
    const size_t mark = cot_tape_scratch_mark(tape);
    double *key = cot_tape_scratch(tape, (size_t)(tokens * experts) * sizeof *key);
    int64_t base = 0, most = 0;
    if (cot_tape_failed(tape)) return 0;
    cot_log_probabilities(logits, key);
    for (int64_t g = 0; g < cot_runs_number(groups); g++) {
        const int64_t from = cot_runs_from(groups, g), to = cot_runs_to(groups, g, tokens);
        const int64_t picks = (s->top_k * (to - from) + experts - 1) / experts;
        cot_pick_columns(tape, key, from, to, experts, picks, base, cot_key_tolerance(tape), place);
        base += picks;
        most = picks > most ? picks : most;
    }
    cot_tape_scratch_release(tape, mark);
    return most;
}

/* Fills place by thresholds: slots count on. */
static void pick_by_threshold(const cot_tensor *probs, const cot_tensor *threshold, int32_t *place)
{
    const int64_t tokens = cot_tensor_rows(probs), experts = cot_tensor_columns(probs);
    for (int64_t e = 0; e < experts; e++) {
        int32_t next = 0;
        for (int64_t t = 0; t < tokens; t++) {
            const double p = cot_value_at(probs->data, probs->dtype, t * experts + e);
            const bool above = p > cot_value_at(threshold->data, threshold->dtype, e) + 1.0 / (double)experts;
            place[t * experts + e] = above ? next++ : -1;
        }
    }
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    const batchwise *s = r->state;
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    cot_tensor *probs = cot_router_round(r, tape, cot_softmax(tape, logits)), *threshold = thresholds(r, tape, in);
    const int64_t tokens = cot_tensor_rows(logits), experts = r->num_experts;
    int32_t *place = cot_tape_alloc(tape, (size_t)(tokens * experts) * sizeof *place);
    cot_router_check_finite(tape, logits);
    if (cot_tape_failed(tape)) return;
    const bool by_batch = cot_tape_training(tape) || !threshold;
    const int64_t capacity = by_batch ? pick_by_batch(r, tape, in->groups, logits, place) : -1;
    if (!by_batch) pick_by_threshold(probs, threshold, place);
    cot_collect_picks(tape, tokens, experts, place, out);
    out->logits = out->clean_logits = logits;
    out->probs = probs;
    out->gate = cot_gate_pick_softmax(tape, logits, out->token, out->expert, out->assignments);
    out->own_slots = true;
    out->capacity = capacity;
    if (by_batch && threshold) out->own_loss = cot_threshold_loss(tape, probs, threshold, place, s->threshold_coef);
}

const cot_router_ops cot_router_batchwise = {
    .member = {"batchwise", "shazeer2017outrageously", "every expert takes the same number of tokens; thresholds at inference",
               options},
    .traits = COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT | COT_ROUTER_SCORES | COT_ROUTER_OWN_SLOTS,
    .lab_input = "\"thresholds\" (E probabilities), \"group\" (lengths: tokens that experts take from together)",
    .state_size = sizeof(batchwise),
    .setup = setup,
    .score = score,
    .select = select,
};
