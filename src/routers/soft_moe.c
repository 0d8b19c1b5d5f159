/* Soft mixture: no token goes anywhere whole. Every expert has `slots` slots; a slot holds a mixture of all tokens of a sequence, the
 * expert works on its slots, and every token takes a mixture of all results:
 *
 *   logits[t, s] = <x_t / |x_t|, phi_s / |phi_s|> / temperature      (learned, from 1)
 *   dispatch = softmax of each column, over tokens       slot s    = sum over t of dispatch[t, s] x_t
 *   combine  = softmax of each row, over slots           y_t       = sum over s of combine[t, s] expert(slot s)
 *
 * Nothing is dropped, nothing is discrete, and experts are even by construction. Cost follows the number of slots, not tokens.
 *
 * A slot mixes what comes later too: not for causal models, where training, evaluation and generation token by token differ (as with
 * expert_choice, the recipe is taken and marked "looks ahead"). Tokens mix within a sequence, or a group of the lab's.
 *
 * As a routing every token has all experts, each with the sum of its combine weights as gate: what balance rules and loads read. The
 * router lab takes T x (E slots) logits and gives back both matrices ("dispatch", "combine").
 *
 * [puigcerver2023sparse], section 2.1 and 2.3 */
#include "base/config_tree.h"
#include "ops/cosine.h"
#include "ops/gate.h"
#include "ops/router_linear.h"
#include "ops/soft_slots.h"
#include "ops/softmax.h"
#include "ops/top_k_rows.h"
#include "routers/router.h"

typedef struct {
    cot_router_common common;
    int64_t           slots;
    cot_param        *weight, *temperature;  /* weight [E * slots, D]; temperature [1], its logarithm */
} soft_moe;

static const cot_option options[] = {
    COT_OPTION_INT(soft_moe, slots, 1, 1, 4096, "slots of each expert in each sequence"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    soft_moe *s = r->state;
    r->top_k = r->num_experts;
    r->columns = r->num_experts * s->slots;
    r->choices = build->context > 0 ? (double)r->columns / (double)build->context : (double)r->num_experts;
    if (!build->params) return COT_OK;
    COT_TRY(cot_build_weight(build, "weight", 0, r->columns, build->hidden_size, &s->weight));
    return cot_build_vector(build, "temperature", 1, COT_INIT_ZERO, &s->temperature);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const soft_moe *s = r->state;
    cot_tensor *token = cot_unit_rows(tape, cot_router_round(r, tape, in->x));
    cot_tensor *slot = cot_unit_rows(tape, cot_router_round(r, tape, cot_tape_param(tape, s->weight)));
    out->logits = cot_over_temperature(tape, cot_router_linear(tape, token, slot), cot_tape_param(tape, s->temperature), 1, 0);
}

/* Groups that are given, else sequences, else one run of all. */
static cot_runs runs_of(cot_tape *tape, const cot_route_input *in)
{
    if (in->groups.count) return in->groups;
    if (in->sequences.count) return in->sequences;
    int64_t *offset = cot_tape_alloc(tape, 2 * sizeof *offset);
    if (offset) offset[0] = 0, offset[1] = in->tokens;
    return (cot_runs){1, offset};
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    const int64_t experts = r->num_experts;
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    const cot_runs runs = runs_of(tape, in);
    cot_router_check_finite(tape, logits);
    cot_routing_start(tape, in->tokens, experts, experts, in->tokens * experts, out);
    if (cot_tape_failed(tape)) return;
    const cot_soft_runs mixed = {runs.count, runs.offset, NULL};
    out->runs = runs;
    out->dispatch = cot_router_round(r, tape, cot_slot_softmax(tape, logits, &mixed));
    out->combine = cot_router_round(r, tape, cot_softmax(tape, logits));
    out->logits = out->clean_logits = logits;
    out->probs = cot_slot_shares(tape, out->combine, experts);
    if (cot_tape_failed(tape)) return;
    cot_top_k_rows(tape, out->probs, experts, out->expert);
    for (int64_t a = 0; a < out->assignments; a++) out->slot[a] = out->token[a];
    out->gate = cot_gate_gather(tape, out->probs, out->expert, experts);
    out->own_slots = true;
}

/* As many experts as fit so many columns. */
static int64_t experts_of(const cot_config *spec, int64_t columns)
{
    int64_t slots = (int64_t)options[0].number;
    const cot_config *given = cot_config_get(spec, "slots");
    if ((given && cot_config_int(given, &slots) != COT_OK) || slots < 1 || columns % slots) return 0;
    return columns / slots;
}

/* Scores, and both mixtures; the experts' work goes by `choices`. */
static double flops(const cot_router *r) { return 6 * (double)r->columns * (double)r->build.hidden_size; }

const cot_router_ops cot_router_soft_moe = {
    .member = {"soft_moe", "puigcerver2023sparse", "experts work on mixtures of tokens; looks ahead in a causal model", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT | COT_ROUTER_UNIT_GATES | COT_ROUTER_SCORES |
              COT_ROUTER_OWN_SLOTS,
    .lab_input = "\"logits\" are T x (E * slots); \"sequences\" or \"group\" (lengths: tokens that mix)",
    .state_size = sizeof(soft_moe),
    .setup = setup,
    .experts_of = experts_of,
    .flops = flops,
    .score = score,
    .select = select,
};
