/* Routing by what a text belongs to: its task, language or source.
 *
 * language: expert = label modulo E, gate 1. Nothing is learned but the experts.
 *
 * task: a learned row of logits for each label, the top_k largest, gates a softmax over them: one decision for a whole
 * document, so that a task's experts can be taken out and served alone. The router lab gives logits; each sequence takes
 * those of its first token.
 *
 * Labels are the sources of the corpus, in order. An unknown label (in generation) counts as label 0. Neither has traits of
 * experts: labels name them.
 *
 * task: [kudugunta2021beyond], section 3; language: [fan2021beyond], section 4.2 */
#include "base/fail.h"
#include "ops/embed.h"
#include "ops/gate.h"
#include "ops/gather_rows.h"
#include "ops/ragged_gate.h"
#include "routers/router.h"

static int32_t label_of(const cot_route_input *in, int64_t t) { return in->labels && in->labels[t] > 0 ? in->labels[t] : 0; }

/* ---- language ---- */

static const cot_option language_options[] = {
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status language_setup(cot_router *r, const cot_build *build)
{
    (void)build;
    r->top_k = 1;
    return COT_OK;
}

static void language_score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    out->logits = cot_router_no_logits(r, tape, in->tokens);
}

static void language_select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    (void)scores;
    cot_routing_start(tape, in->tokens, r->num_experts, 1, in->tokens, out);
    for (int64_t t = 0; t < out->tokens; t++) out->expert[t] = (int32_t)(label_of(in, t) % r->num_experts);
    out->gate = cot_gate_constant(tape, out->assignments, 1);
}

const cot_router_ops cot_router_language = {
    .member = {"language", "fan2021beyond", "one expert for each label", language_options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_UNIT_GATES | COT_ROUTER_NO_LOGITS,
    .lab_input = "\"labels\" (T whole numbers, -1 unknown)",
    .state_size = sizeof(cot_router_common),
    .setup = language_setup,
    .score = language_score,
    .select = language_select,
};

/* ---- task ---- */

typedef struct {
    cot_router_common common;
    int64_t           top_k, num_labels;
    cot_param        *weight;  /* [num_labels, E] */
} task_state;

static const cot_option task_options[] = {
    COT_OPTION_INT(task_state, top_k, 1, 1, 4096, "experts per label"),
    COT_OPTION_INT(task_state, num_labels, 16, 1, 1 << 20, "labels with logits of their own; others count modulo this"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status task_setup(cot_router *r, const cot_build *build)
{
    task_state *s = r->state;
    r->top_k = s->top_k;
    return build->params ? cot_build_weight(build, "weight", 0, s->num_labels, r->num_experts, &s->weight) : COT_OK;
}

static void task_score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const task_state *s = r->state;
    int32_t *label = cot_tape_alloc(tape, (size_t)in->tokens * sizeof *label);
    for (int64_t t = 0; label && t < in->tokens; t++) label[t] = label_of(in, t) % (int32_t)s->num_labels;
    out->logits = cot_embed(tape, cot_tape_param(tape, s->weight), label, label ? in->tokens : 0);
}

/* Rows of logits as documents see them: each token takes its document's first. */
static cot_tensor *by_document(cot_tape *tape, const cot_route_input *in, cot_tensor *logits)
{
    int32_t *row = cot_tape_alloc(tape, (size_t)in->tokens * sizeof *row);
    for (int64_t t = 0; row && t < in->tokens; t++) {
        const bool begins = t == 0 || !in->position || in->position[t] == 0 || label_of(in, t) != label_of(in, t - 1);
        row[t] = begins ? (int32_t)t : row[t - 1];
    }
    return row ? cot_gather_rows(tape, logits, row, in->tokens, 0, cot_tensor_columns(logits)) : logits;
}

static void task_select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    cot_tensor *logits = by_document(tape, in, cot_router_round(r, tape, scores->logits));
    cot_router_choose(r, tape, logits, logits, out);
    if (r->top_k == 1) out->gate = cot_gate_gather(tape, out->probs, out->expert, 1);
    else out->gate = cot_gate_softmax(tape, logits, out->expert, r->top_k);
}

const cot_router_ops cot_router_task = {
    .member = {"task", "kudugunta2021beyond", "one learned decision for each label", task_options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL,
    .lab_input = "\"labels\" (T whole numbers), \"positions\" or \"sequences\" (where documents begin)",
    .state_size = sizeof(task_state),
    .setup = task_setup,
    .score = task_score,
    .select = task_select,
};
