/* DeepSeek's router for fine-grained experts: experts lie in groups (devices), a token may use the experts of its best
 * groups only, and takes the top_k best of those. Beside it stands a shared expert (section `shared`).
 *
 *   score: softmax     affinities are probabilities over all experts (V2)
 *          sigmoid     each affinity is a sigmoid by itself (V3)
 *   group_score: max        a group is worth its best expert (V2)
 *                top2_sum   the sum of its two best (V3); of one expert, that expert
 *   norm_topk_prob     gates are divided by their sum (V3); all are times routed_scaling_factor
 *
 * A bias, which balance rule loss_free moves, is added to affinities where groups and experts are chosen, never to gates.
 * Without one, experts rank by logits. Balance losses read affinities over their sum. What
 * is forbidden ranks as minus infinity (0 would let it win once s + b < 0).
 *
 * device_capacity c > 0 drops in training: a group (device) takes at most c times its even share of all choices, and those of lowest
 * affinity are dropped until it does, ties from the end of the batch; the tokens of a share of the sequences (undropped_sequences,
 * drawn anew each step, the same in all layers) never are. Dropped choices count in loads and balance losses, as those that a full
 * expert drops do.
 *
 * Presets: v2 {top_k: 6, num_groups: 8, topk_group: 3, routed_scaling_factor: 16}; v3 {top_k: 8, num_groups: 8,
 * topk_group: 4, score: sigmoid, group_score: top2_sum, norm_topk_prob: true, routed_scaling_factor: 2.5}.
 * Gates do not sum to one by default, and groups are what permuting experts would break.
 *
 * [dai2024deepseekmoe]; [deepseek2024v2], section 2.2; [deepseek2024v3], section 2.1.2 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "ops/gate.h"
#include "ops/pieces.h"
#include "ops/ragged_gate.h"
#include "ops/row_maps.h"
#include "ops/softmax.h"
#include "ops/top_k_rows.h"
#include "ops/values.h"
#include "routers/router.h"
#include "routing/ranked.h"

typedef struct {
    cot_router_common common;
    int32_t           preset;
    int64_t           top_k, num_groups, topk_group;
    int32_t           score, group_score;  /* 0 softmax, 1 sigmoid; 0 max, 1 top2_sum */
    bool              norm_topk_prob;
    double            routed_scaling_factor, device_capacity, undropped_sequences;
    cot_param        *weight;
} deepseek;

static const char *const presets[] = {
    "{}",
    "{top_k: 6, num_groups: 8, topk_group: 3, routed_scaling_factor: 16}",
    "{top_k: 8, num_groups: 8, topk_group: 4, score: sigmoid, group_score: top2_sum, norm_topk_prob: true, routed_scaling_factor: 2.5}",
};

static const cot_option options[] = {
    COT_OPTION_PRESET(deepseek, preset, "none|v2|v3", presets, "a published model's choice: v2 takes 6 experts of 3 of 8 groups, v3 8 of 4 of 8 by sigmoids"),
    COT_OPTION_INT(deepseek, top_k, 6, 1, 4096, "experts per token"),
    COT_OPTION_INT(deepseek, num_groups, 1, 1, 4096, "groups of neighbouring experts (devices); must divide their number"),
    COT_OPTION_INT(deepseek, topk_group, 0, 0, 4096, "groups that a token may use; 0 = all"),
    COT_OPTION_CHOICE(deepseek, score, 0, "softmax|sigmoid", "affinities from logits"),
    COT_OPTION_CHOICE(deepseek, group_score, 0, "max|top2_sum", "what a group is worth to a token"),
    COT_OPTION_BOOL(deepseek, norm_topk_prob, false, "divide the chosen affinities by their sum"),
    COT_OPTION_DOUBLE(deepseek, routed_scaling_factor, 1, 1e-6, 1e6, "times every gate"),
    COT_OPTION_DOUBLE(deepseek, device_capacity, 0, 0, 1e6,
                      "in training, a group takes at most so many times its even share of choices; those of lowest affinity are dropped; 0 = no limit (V2: 1)"),
    COT_OPTION_DOUBLE(deepseek, undropped_sequences, 0.1, 0, 1, "share of sequences whose tokens are never dropped"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    deepseek *s = r->state;
    const int64_t experts = r->num_experts, groups = s->num_groups;
    r->top_k = s->top_k;
    if (experts % groups)
        return cot_fail(COT_INVALID, "router 'deepseek': num_groups is %lld, expected a divisor of num_experts = %lld",
                        (long long)groups, (long long)experts);
    if (s->topk_group == 0 || s->topk_group > groups) s->topk_group = groups;
    if (s->topk_group * (experts / groups) < s->top_k)
        return cot_fail(COT_INVALID, "router 'deepseek': %lld groups of %lld experts have too few for top_k = %lld",
                        (long long)s->topk_group, (long long)(experts / groups), (long long)s->top_k);
    return cot_router_add_weight(r, build, "weight", false, &s->weight);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const deepseek *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
}

/* ---- which groups ---- */

/* A group's worth: its largest value, or the sum of its two largest. */
static double worth(const double *value, int64_t count, bool sum_of_two)
{
    double first = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        if (value[i] > first) second = first, first = value[i];
        else if (value[i] > second) second = value[i];
    }
    return sum_of_two && second > -INFINITY ? first + second : first;
}

/* How many groups come before group g: worth more, or as much and lower. */
static int64_t rank_of(const double *worths, int64_t groups, int64_t g)
{
    int64_t before = 0;
    for (int64_t i = 0; i < groups; i++) before += worths[i] > worths[g] || (worths[i] == worths[g] && i < g);
    return before;
}

typedef struct {
    const deepseek   *s;
    const cot_tensor *logits, *affinity;
    const double     *bias;
    int64_t           experts;
} view;

/* What ranks expert e of row t, once groups are chosen by `affine` values or by logits. */
static double ranked_value(const view *v, int64_t t, int64_t e, bool affine)
{
    const int64_t i = t * v->experts + e;
    const double h = cot_value_at(v->logits->data, v->logits->dtype, i);
    if (!(h > -INFINITY) || (!affine && !v->bias)) return h;
    return cot_value_at(v->affinity->data, v->affinity->dtype, i) + (v->bias ? v->bias[e] : 0);
}

/* One row of `ranked`: values of the allowed groups, minus infinity elsewhere. `value` and `worths` have room for it. */
static void rank_row(const view *v, int64_t t, double *value, double *worths, cot_tensor *ranked)
{
    const int64_t groups = v->s->num_groups, each = v->experts / groups;
    const bool sum_of_two = v->s->group_score == 1;
    for (int64_t e = 0; e < v->experts; e++) value[e] = ranked_value(v, t, e, sum_of_two);
    for (int64_t g = 0; g < groups; g++) worths[g] = worth(value + g * each, each, sum_of_two);
    for (int64_t e = 0; e < v->experts; e++) {
        const bool allowed = rank_of(worths, groups, e / each) < v->s->topk_group;
        cot_value_set(ranked->data, ranked->dtype, t * v->experts + e, allowed ? ranked_value(v, t, e, false) : -INFINITY);
    }
}

static cot_tensor *rank_allowed(cot_tape *tape, const view *v)
{
    const int64_t rows = cot_tensor_rows(v->logits), pieces = cot_pieces(rows, COT_PIECE_TOKENS);
    const size_t mark = cot_tape_scratch_mark(tape), width = (size_t)(v->experts + v->s->num_groups);
    cot_tensor *ranked = cot_tape_matrix(tape, v->logits->dtype, rows, v->experts, false);
    double *room = cot_tape_scratch(tape, (size_t)pieces * width * sizeof *room);
    if (cot_tape_failed(tape)) return ranked;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        double *value = room + (size_t)p * width;
        for (int64_t t = p * COT_PIECE_TOKENS; t < cot_piece_end(p, COT_PIECE_TOKENS, rows); t++)
            rank_row(v, t, value, value + v->experts, ranked);
    }
    cot_tape_scratch_release(tape, mark);
    return ranked;
}

/* ---- gates ---- */

static cot_tensor *gates(const deepseek *s, cot_tape *tape, cot_tensor *logits, cot_tensor *affinity, const cot_routing *out)
{
    const double scale = s->routed_scaling_factor;
    const int64_t count = out->assignments;
    if (!s->norm_topk_prob) return cot_gate_pick(tape, affinity, out->token, out->expert, count, scale);
    if (s->score == 1)
        return cot_gate_normalise(tape, cot_gate_gather(tape, affinity, out->expert, s->top_k), out->token, NULL, scale, 1e-20);
    cot_tensor *gate = cot_gate_softmax(tape, logits, out->expert, s->top_k);
    return scale == 1 ? gate : cot_gate_times(tape, gate, cot_gate_constant(tape, count, scale));
}

/* ---- what a device has no room for ---- */

/* Sequences are drawn by number, the same in every layer. */
static void mark_undropped(const deepseek *s, const cot_tape *tape, cot_runs sequences, uint8_t *undropped)
{
    const cot_rng_key key = cot_tape_rng(tape, COT_RNG_UNDROPPED);
    for (int64_t i = 0; i < sequences.count; i++)
        for (int64_t t = sequences.offset[i]; t < sequences.offset[i + 1]; t++)
            undropped[t] = cot_rng_uniform(key, (uint64_t)i) < s->undropped_sequences;
}

/* Choices of one group by falling affinity; those of undropped tokens come first. */
static int64_t rank_choices(const view *v, const cot_routing *out, const uint8_t *undropped, int64_t group, cot_ranked *list, cot_ranked *spare)
{
    const int64_t each = v->experts / v->s->num_groups;
    int64_t n = 0;
    for (int64_t a = 0; a < out->assignments; a++) {
        const int64_t t = out->token[a];
        if (out->expert[a] / each != group) continue;
        const double affinity = cot_value_at(v->affinity->data, v->affinity->dtype, t * v->experts + out->expert[a]);
        list[n++] = (cot_ranked){affinity + (undropped[t] ? 2 : 0), (int32_t)a};
    }
    const double epsilon = v->affinity->dtype == COT_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
    cot_rank_with_ties(list, spare, n, 32 * epsilon, 0);
    return n;
}

/* Marks the choices that exceed a group's budget. */
static void drop(const view *v, cot_tape *tape, cot_runs sequences, cot_routing *out)
{
    const size_t mark = cot_tape_scratch_mark(tape), bytes = (size_t)out->assignments * sizeof(cot_ranked);
    cot_ranked *list = cot_tape_scratch(tape, bytes), *spare = cot_tape_scratch(tape, bytes);
    uint8_t *undropped = cot_tape_scratch(tape, (size_t)out->tokens);
    const double share = v->s->device_capacity * (double)out->assignments / (double)v->s->num_groups;
    const int64_t budget = (int64_t)ceil(share * (1 - 1e-12));
    if (!cot_tape_failed(tape)) {
        memset(undropped, 0, (size_t)out->tokens);
        mark_undropped(v->s, tape, sequences, undropped);
        for (int64_t g = 0; g < v->s->num_groups; g++) {
            const int64_t n = rank_choices(v, out, undropped, g, list, spare);
            for (int64_t i = budget; i < n; i++)
                if (!undropped[out->token[list[i].token]]) out->slot[list[i].token] = COT_SLOT_FULL, out->dropped++;
        }
    }
    cot_tape_scratch_release(tape, mark);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    const deepseek *s = r->state;
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    cot_tensor *affinity = cot_router_round(r, tape, s->score == 1 ? cot_sigmoid(tape, logits) : cot_softmax(tape, logits));
    const view v = {s, logits, affinity, cot_router_bias(in->bias, r->num_experts), r->num_experts};
    cot_router_check_finite(tape, logits);
    if (cot_tape_failed(tape)) return;
    const bool plain = !v.bias && s->topk_group == s->num_groups;
    cot_tensor *ranked = plain ? logits : rank_allowed(tape, &v);
    cot_routing_start(tape, cot_tensor_rows(logits), r->num_experts, s->top_k, cot_tensor_rows(logits) * s->top_k, out);
    if (cot_tape_failed(tape)) return;
    cot_top_k_rows(tape, ranked, s->top_k, out->expert);
    out->logits = out->clean_logits = logits;
    out->probs = s->score == 1 ? cot_softmax(tape, logits) : affinity;
    out->shares = s->score == 1 ? cot_normalise_rows(tape, affinity, 1e-20) : NULL;
    out->gate = cot_router_round(r, tape, gates(s, tape, logits, affinity, out));
    if (s->device_capacity > 0 && cot_tape_training(tape)) drop(&v, tape, in->sequences, out);
}

const cot_router_ops cot_router_deepseek = {
    .member = {"deepseek", "dai2024deepseekmoe, deepseek2024v2, deepseek2024v3",
               "top-k of the best groups, affinities by softmax or sigmoid, with a bias for balance", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT |
              COT_ROUTER_SCORES | COT_ROUTER_TAKES_BIAS,
    .lab_input = "\"bias\" (E, added where groups and experts are chosen), with \"training\" \"sequences\" (lengths, for undropped_sequences)",
    .state_size = sizeof(deepseek),
    .setup = setup,
    .score = score,
    .select = select,
};
