/* Expert choice: every expert picks the tokens that it likes best, n = capacity_factor * T / E of them (rounded down, at
 * least one, at most T). The pool is balanced by construction, tokens have different numbers of experts, some none: those
 * pass by in the residual stream. The gate is the token's probability for the expert (softmax over experts).
 *
 * A token competes with later ones, so in a causal model training and evaluation look ahead: what the model seems to learn
 * is partly a leak, and generation token by token (where every expert takes the one token) differs. Experts pick within
 * groups of group_size tokens.
 *
 * max_experts b > 0 is the capped variant: at most about b experts a token. A = argmax <S, A> + entropy * H(A), with n
 * tokens in each column, at most b in each row and 0 <= A <= 1, by Dykstra's alternating projections in the geometry of the
 * Kullback-Leibler divergence; then the n largest of each expert's column of A. [bauschke2000dykstras] for the method.
 *
 * Choices of a token are listed by expert. Two tokens whose probabilities for an expert differ by rounding alone tie, and
 * the earlier one comes first.
 *
 * [zhou2022expertchoice], section 3.2 and 3.3 */
#include <math.h>
#include <string.h>

#include "ops/ragged_gate.h"
#include "ops/softmax.h"
#include "ops/values.h"
#include "routers/column_choice.h"

typedef struct {
    cot_router_common common;
    double            capacity_factor;
    int64_t           max_experts;
    double            entropy;
    int64_t           iterations;
    bool              divide_by_count;
    int64_t           group_size;
    cot_param        *weight;
} expert_choice;

static const cot_option options[] = {
    COT_OPTION_DOUBLE(expert_choice, capacity_factor, 2, 1e-6, 1e6, "experts per token on average"),
    COT_OPTION_INT(expert_choice, max_experts, 0, 0, 4096, "the capped variant: at most so many experts per token; 0 = no cap"),
    COT_OPTION_DOUBLE(expert_choice, entropy, 1e-3, 1e-9, 1e3, "weight of the entropy in the capped variant (lambda)"),
    COT_OPTION_INT(expert_choice, iterations, 100, 1, 1e6, "projections in the capped variant"),
    COT_OPTION_BOOL(expert_choice, divide_by_count, false, "divide a token's gates by the number of its experts"),
    COT_ROUTER_GROUP_OPTION(expert_choice),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    expert_choice *s = r->state;
    r->choices = s->capacity_factor;
    r->group_size = s->group_size;
    return cot_router_add_weight(r, build, "weight", false, &s->weight);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const expert_choice *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
}

/* ---- the capped variant: Dykstra's projections on `key` = S / entropy of n tokens ---- */

typedef struct {
    int64_t tokens, experts;
    double  picks, cap;
    double *a, *rows, *unit;  /* [tokens, experts] ln A, and the corrections of the two inequalities */
} transport;

/* Every expert's column sums to picks. */
static void fit_columns(const transport *p)
{
    for (int64_t e = 0; e < p->experts; e++) {
        double largest = -INFINITY, sum = 0;
        for (int64_t t = 0; t < p->tokens; t++) largest = fmax(largest, p->a[t * p->experts + e]);
        if (largest == -INFINITY) continue;
        for (int64_t t = 0; t < p->tokens; t++) sum += exp(p->a[t * p->experts + e] - largest);
        const double shift = log(p->picks) - largest - log(sum);
        for (int64_t t = 0; t < p->tokens; t++) p->a[t * p->experts + e] += shift;
    }
}

/* a <- min over what `limit` allows of a + correction, correction <- what was cut; masked entries stay. */
static void cut(double *a, double *correction, double shift)
{
    const double before = *a + *correction;
    *a = before + shift;
    *correction = -shift;
}

/* Every token's row sums to at most cap. */
static void limit_rows(const transport *p)
{
    for (int64_t t = 0; t < p->tokens; t++) {
        double *a = p->a + t * p->experts, *q = p->rows + t * p->experts, largest = -INFINITY, sum = 0;
        for (int64_t e = 0; e < p->experts; e++) largest = fmax(largest, a[e] + q[e]);
        if (largest == -INFINITY) continue;
        for (int64_t e = 0; e < p->experts; e++) sum += exp(a[e] + q[e] - largest);
        const double shift = fmin(0, log(p->cap) - largest - log(sum));
        for (int64_t e = 0; e < p->experts; e++)
            if (a[e] > -INFINITY) cut(&a[e], &q[e], shift);
    }
}

/* No entry exceeds one. */
static void limit_entries(const transport *p)
{
    for (int64_t i = 0; i < p->tokens * p->experts; i++)
        if (p->a[i] > -INFINITY) cut(&p->a[i], &p->unit[i], fmin(0, -(p->a[i] + p->unit[i])));
}

/* From ln p to ln A, in place. */
static void cap_tokens(const expert_choice *s, cot_tape *tape, double *key, int64_t tokens, int64_t experts, int64_t picks)
{
    const size_t mark = cot_tape_scratch_mark(tape), bytes = (size_t)(tokens * experts) * sizeof(double);
    const transport p = {tokens, experts, (double)picks, (double)s->max_experts, key, cot_tape_scratch(tape, bytes),
                         cot_tape_scratch(tape, bytes)};
    if (!cot_tape_failed(tape)) {
        memset(p.rows, 0, bytes);
        memset(p.unit, 0, bytes);
        for (int64_t i = 0; i < tokens * experts; i++)
            if (key[i] > -INFINITY) key[i] = exp(key[i]) / s->entropy;
        for (int64_t i = 0; i < s->iterations; i++) {
            fit_columns(&p);
            limit_rows(&p);
            limit_entries(&p);
        }
    }
    cot_tape_scratch_release(tape, mark);
}

/* ---- picking ---- */

static int64_t picks_of(const expert_choice *s, int64_t tokens, int64_t experts)
{
    const int64_t picks = (int64_t)floor((double)tokens * s->capacity_factor / (double)experts * (1 + 1e-12));
    return picks < 1 ? (tokens ? 1 : 0) : picks < tokens ? picks : tokens;
}

/* Fills place [T, E]; returns the picks of an expert in the largest group. */
static int64_t pick_all(const cot_router *r, cot_tape *tape, cot_runs groups, int64_t tokens, double *key, int32_t *place)
{
    const expert_choice *s = r->state;
    const int64_t experts = r->num_experts;
    int64_t base = 0, most = 0;
    for (int64_t g = 0; !cot_tape_failed(tape) && g < cot_runs_number(groups); g++) {
        const int64_t from = cot_runs_from(groups, g), to = cot_runs_to(groups, g, tokens);
        const int64_t picks = picks_of(s, to - from, experts);
        if (s->max_experts) cap_tokens(s, tape, key + from * experts, to - from, experts, picks);
        cot_pick_columns(tape, key, from, to, experts, picks, base, s->max_experts ? 1e-9 : cot_key_tolerance(tape), place);
        base += picks;
        most = picks > most ? picks : most;
    }
    return most;
}

static cot_tensor *divide_by_count(cot_tape *tape, const cot_routing *routing)
{
    cot_tensor *factor = cot_gate_constant(tape, routing->assignments, 1);
    const int64_t *first = cot_routing_first(tape, routing);
    for (int64_t a = 0; a < routing->assignments && !cot_tape_failed(tape); a++) {
        const int64_t t = routing->token[a];
        cot_value_set(factor->data, factor->dtype, a, 1.0 / (double)(first[t + 1] - first[t]));
    }
    return cot_gate_times(tape, routing->gate, factor);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    const expert_choice *s = r->state;
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    const int64_t tokens = cot_tensor_rows(logits), cells = tokens * r->num_experts;
    const size_t mark = cot_tape_scratch_mark(tape);
    double *key = cot_tape_scratch(tape, (size_t)cells * sizeof *key);
    int32_t *place = cot_tape_scratch(tape, (size_t)cells * sizeof *place);
    cot_router_check_finite(tape, logits);
    if (cot_tape_failed(tape)) return;
    cot_log_probabilities(logits, key);
    const int64_t capacity = pick_all(r, tape, in->groups, tokens, key, place);
    cot_collect_picks(tape, tokens, r->num_experts, place, out);
    cot_tape_scratch_release(tape, mark);
    out->logits = out->clean_logits = logits;
    out->probs = cot_router_round(r, tape, cot_softmax(tape, logits));
    out->gate = cot_gate_pick(tape, out->probs, out->token, out->expert, out->assignments, 1);
    if (s->divide_by_count) out->gate = divide_by_count(tape, out);
    out->own_slots = true;
    out->capacity = capacity;
}

const cot_router_ops cot_router_expert_choice = {
    .member = {"expert_choice", "zhou2022expertchoice", "experts pick tokens; looks ahead in a causal model", options},
    .traits = COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT | COT_ROUTER_SCORES |
              COT_ROUTER_OWN_SLOTS,
    .lab_input = "\"group\" (lengths: tokens that experts pick from together)",
    .state_size = sizeof(expert_choice),
    .setup = setup,
    .score = score,
    .select = select,
};
