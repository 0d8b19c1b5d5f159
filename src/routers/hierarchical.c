/* Two-level gating: a first gate chooses top_groups of num_groups groups, a gate of each group top_k of its experts; a
 * choice's weight is the product of both gates, each a softmax over what was chosen. Asking for no more than there are is
 * enough for all of them: so it is also the dense tree of [jordan1994hierarchical].
 *
 * Its balance losses follow from its gates: importance sums the products; load, with noise, is
 *
 *     Load_ij = Load_i of the first gate * Load_j of group i over the tokens sent there / their number,
 *
 * 0 where no token was sent; without noise it is the count. Both gates have learned noise when `noisy` (in the router lab
 * the second one has, with "noise" and "raw_noise_std"). Losses on probabilities read products of both softmaxes.
 *
 * Logits are [T, E], primary logits [T, num_groups]; experts of a group are neighbours, which permuting them would break.
 *
 * [shazeer2017outrageously], appendix B */
#include <math.h>

#include "base/fail.h"
#include "ops/gate.h"
#include "ops/gather_rows.h"
#include "ops/noise.h"
#include "ops/ragged_gate.h"
#include "ops/row_maps.h"
#include "ops/smooth_load.h"
#include "ops/softmax.h"
#include "ops/stack_scaled.h"
#include "ops/top_k_rows.h"
#include "ops/values.h"
#include "routers/router.h"

typedef struct {
    cot_router_common common;
    int64_t           num_groups, top_groups, top_k;
    bool              noisy;
    double            noise_eps;
    cot_param        *weight, *noise_weight, *primary, *primary_noise;
} hierarchical;

static const cot_option options[] = {
    COT_OPTION_INT(hierarchical, num_groups, 0, 0, 4096,
                   "groups; must divide the number of experts; 0 = its largest divisor up to its root (the lab goes by primary_logits)"),
    COT_OPTION_INT(hierarchical, top_groups, 2, 1, 4096, "groups per token, at most all"),
    COT_OPTION_INT(hierarchical, top_k, 2, 1, 4096, "experts per token in each of its groups, at most all"),
    COT_OPTION_BOOL(hierarchical, noisy, false, "learned noise on both gates in training"),
    COT_OPTION_DOUBLE(hierarchical, noise_eps, 1e-2, 0, 10, "smallest scale of the noise"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static cot_status declare(cot_router *r, const cot_build *build)
{
    hierarchical *s = r->state;
    if (!build->params) return COT_OK;
    COT_TRY(cot_router_add_weight(r, build, "weight", s->noisy, &s->weight));
    COT_TRY(cot_build_weight(build, "primary.weight", 0, s->num_groups, build->hidden_size, &s->primary));
    if (!s->noisy) return COT_OK;
    s->primary->spec.init = (cot_init){COT_INIT_ZERO, 0};
    COT_TRY(cot_router_add_weight(r, build, "noise_weight", true, &s->noise_weight));
    COT_TRY(cot_build_weight(build, "primary.noise_weight", 0, s->num_groups, build->hidden_size, &s->primary_noise));
    s->primary_noise->spec.init = (cot_init){COT_INIT_ZERO, 0};
    return COT_OK;
}

static cot_status setup(cot_router *r, const cot_build *build)
{
    hierarchical *s = r->state;
    const int64_t experts = r->num_experts;
    if (s->num_groups == 0)
        for (int64_t g = 1; g * g <= experts; g++)
            if (experts % g == 0) s->num_groups = g;
    if (experts % s->num_groups)
        return cot_fail(COT_INVALID, "router 'hierarchical': num_groups is %lld, expected a divisor of num_experts = %lld",
                        (long long)s->num_groups, (long long)experts);
    r->choices = (double)(least(s->top_groups, s->num_groups) * least(s->top_k, experts / s->num_groups));
    return declare(r, build);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const hierarchical *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
    out->primary = cot_router_logits(r, tape, in->x, s->primary);
    if (!s->noisy || !cot_tape_training(tape)) return;
    out->raw_noise_std = cot_router_logits(r, tape, in->x, s->noise_weight);
    out->primary_raw_noise_std = cot_router_logits(r, tape, in->x, s->primary_noise);
}

/* ---- noise ---- */

/* Logits of one level: clean, with noise, and its scale (NULL without). */
typedef struct {
    cot_tensor *clean, *noisy, *std;
} level;

static const void *draws(const cot_router *r, cot_tape *tape, uint32_t purpose, int64_t count)
{
    void *noise = cot_tape_alloc(tape, (size_t)count * cot_dtype_size(cot_tape_real(tape)));
    const cot_rng_key key = cot_tape_rng(tape, purpose + (uint32_t)r->build.layer);
    for (int64_t i = 0; noise && i < count; i++) cot_value_set(noise, cot_tape_real(tape), i, cot_rng_normal(key, (uint64_t)i));
    return noise;
}

static level make_level(const cot_router *r, cot_tape *tape, cot_tensor *clean, cot_tensor *raw, const void *given,
                        uint32_t purpose)
{
    const hierarchical *s = r->state;
    if (!s->noisy || !raw) return (level){clean, clean, NULL};
    const void *noise = given ? given : draws(r, tape, purpose, cot_tensor_count(clean));
    cot_tensor *std = cot_softplus(tape, raw, s->noise_eps);
    return (level){clean, cot_add_noise(tape, clean, std, noise), std};
}

/* ---- who is chosen ---- */

typedef struct {
    int64_t  tokens, groups, size, k0, k1;
    level    first, second;  /* second: [T, E] */
    int32_t *group;          /* [T * k0] */
    int32_t *inside;         /* [T * groups * k1] experts within each group */
} choice;

static bool choose(cot_tape *tape, choice *c)
{
    const int64_t rows[] = {c->tokens * c->groups, c->size};
    c->group = cot_tape_alloc(tape, (size_t)(c->tokens * c->k0) * sizeof *c->group);
    c->inside = cot_tape_alloc(tape, (size_t)(c->tokens * c->groups * c->k1) * sizeof *c->inside);
    if (cot_tape_failed(tape)) return false;
    cot_top_k_rows(tape, c->first.noisy, c->k0, c->group);
    cot_top_k_rows(tape, cot_reshape(tape, c->second.noisy, 2, rows), c->k1, c->inside);
    return !cot_tape_failed(tape);
}

/* Fills the routing's experts, and their gates as the product of both. */
static void fill(cot_tape *tape, const choice *c, cot_routing *out)
{
    const int64_t rows[] = {c->tokens * c->groups, c->size}, firsts[] = {c->tokens, c->k0}, k = c->k0 * c->k1;
    const size_t bytes = (size_t)out->assignments * sizeof(int32_t);
    int32_t *row = cot_tape_alloc(tape, bytes), *column = cot_tape_alloc(tape, bytes), *rank = cot_tape_alloc(tape, bytes);
    if (cot_tape_failed(tape)) return;
    for (int64_t a = 0; a < out->assignments; a++) {
        const int64_t t = a / k, j = a % k / c->k1;
        rank[a] = (int32_t)j;
        row[a] = (int32_t)(t * c->groups + c->group[t * c->k0 + j]);
        column[a] = c->inside[row[a] * c->k1 + a % c->k1];
        out->expert[a] = (int32_t)(c->group[t * c->k0 + j] * c->size + column[a]);
    }
    cot_tensor *gates = cot_reshape(tape, cot_gate_softmax(tape, c->first.noisy, c->group, c->k0), 2, firsts);
    cot_tensor *outer = cot_gate_pick(tape, gates, out->token, rank, out->assignments, 1);
    cot_tensor *inner = cot_gate_pick_softmax(tape, cot_reshape(tape, c->second.noisy, 2, rows), row, column, out->assignments);
    out->gate = cot_gate_times(tape, outer, inner);
}

/* ---- what balance rules read ---- */

/* Products of both softmaxes, [T, E]. */
static cot_tensor *joint_probabilities(cot_tape *tape, const choice *c)
{
    const int64_t experts = c->groups * c->size, count = c->tokens * experts;
    const int64_t rows[] = {c->tokens * c->groups, c->size}, flat[] = {count}, whole[] = {c->tokens, experts};
    int32_t *token = cot_tape_alloc(tape, (size_t)count * sizeof *token), *group = cot_tape_alloc(tape, (size_t)count * sizeof *group);
    if (cot_tape_failed(tape)) return c->second.clean;
    for (int64_t i = 0; i < count; i++) token[i] = (int32_t)(i / experts), group[i] = (int32_t)(i % experts / c->size);
    cot_tensor *outer = cot_gate_pick(tape, cot_softmax(tape, c->first.clean), token, group, count, 1);
    cot_tensor *inner = cot_softmax(tape, cot_reshape(tape, c->second.clean, 2, rows));
    return cot_reshape(tape, cot_gate_times(tape, outer, cot_reshape(tape, inner, 1, flat)), 2, whole);
}

/* The tokens sent to a group, as rows. */
static int32_t *sent_to(cot_tape *tape, const choice *c, int64_t group, int64_t *count)
{
    int32_t *rows = cot_tape_alloc(tape, (size_t)c->tokens * sizeof *rows);
    *count = 0;
    for (int64_t i = 0; rows && i < c->tokens * c->k0; i++)
        if (c->group[i] == group) rows[(*count)++] = (int32_t)(i / c->k0);
    return rows;
}

static cot_tensor *smooth_load(cot_tape *tape, const choice *c)
{
    const cot_smooth_load_options outer = {c->k0, COT_THRESHOLD_EXCLUDING, true}, inner = {c->k1, COT_THRESHOLD_EXCLUDING, true};
    cot_tensor **parts = cot_tape_alloc(tape, (size_t)c->groups * sizeof(cot_tensor *));
    int64_t *sent = cot_tape_alloc(tape, (size_t)c->groups * sizeof *sent);
    if (cot_tape_failed(tape)) return NULL;
    for (int64_t g = 0; g < c->groups; g++) {
        const int32_t *rows = sent_to(tape, c, g, &sent[g]);
        if (cot_tape_failed(tape)) return NULL;
        cot_tensor *clean = cot_gather_rows(tape, c->second.clean, rows, sent[g], g * c->size, c->size);
        cot_tensor *noisy = cot_gather_rows(tape, c->second.noisy, rows, sent[g], g * c->size, c->size);
        cot_tensor *std = cot_gather_rows(tape, c->second.std, rows, sent[g], g * c->size, c->size);
        parts[g] = cot_smooth_load(tape, clean, noisy, std, &inner);
    }
    cot_tensor *first = c->first.std ? cot_smooth_load(tape, c->first.clean, c->first.noisy, c->first.std, &outer) : NULL;
    return cot_stack_scaled(tape, parts, first, sent, c->groups);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    const hierarchical *s = r->state;
    const int64_t tokens = cot_tensor_rows(scores->logits), groups = scores->primary ? cot_tensor_columns(scores->primary) : 0;
    if (groups < 1 || r->num_experts % groups) {
        cot_tape_fail(tape, cot_fail(COT_INVALID, "router 'hierarchical' has %lld primary logits a token, expected a divisor of %lld",
                                     (long long)groups, (long long)r->num_experts));
        return;
    }
    choice c = {.tokens = tokens, .groups = groups, .size = r->num_experts / groups};
    c.k0 = least(s->top_groups, groups), c.k1 = least(s->top_k, c.size);
    c.first = make_level(r, tape, cot_router_round(r, tape, scores->primary), scores->primary_raw_noise_std, NULL, COT_RNG_JITTER);
    c.second = make_level(r, tape, cot_router_round(r, tape, scores->logits), scores->raw_noise_std, in->noise, COT_RNG_GATE_NOISE);
    cot_routing_start(tape, tokens, r->num_experts, c.k0 * c.k1, tokens * c.k0 * c.k1, out);
    if (cot_tape_failed(tape) || !choose(tape, &c)) return;
    fill(tape, &c, out);
    out->logits = c.second.noisy;
    out->clean_logits = c.second.clean;
    out->probs = cot_softmax(tape, c.second.clean);
    out->shares = joint_probabilities(tape, &c);
    if (c.second.std) out->load = smooth_load(tape, &c);
}

const cot_router_ops cot_router_hierarchical = {
    .member = {"hierarchical", "shazeer2017outrageously, jordan1994hierarchical", "a gate over groups, and one in each group", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_UNIT_GATES | COT_ROUTER_SCORES,
    .lab_input = "\"primary_logits\" (T x groups) beside \"logits\" (T x E, experts of a group neighbours); \"noise\" and \"raw_noise_std\" (T x E) with \"training\"",
    .state_size = sizeof(hierarchical),
    .setup = setup,
    .score = score,
    .select = select,
};
