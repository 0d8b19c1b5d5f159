/* The sparse feed-forward: a router decides, capacity limits, a pool of experts works, balance rules add losses, and a shared expert
 * (if there is one) sees every token.   [shazeer2017outrageously]; shared experts [dai2024deepseekmoe], with a gate [yang2024qwen2] */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "balance/balance.h"
#include "base/config_tree.h"
#include "base/fail.h"
#include "base/memory.h"
#include "experts/experts.h"
#include "layers/feed_forward.h"
#include "layers/route_input.h"
#include "ops/linear.h"
#include "ops/mask_logits.h"
#include "ops/ragged_gate.h"
#include "ops/residual.h"
#include "ops/row_maps.h"
#include "ops/router_linear.h"
#include "ops/soft_slots.h"
#include "ops/values.h"
#include "routers/router.h"
#include "routing/capacity.h"

enum { MAX_RULES = 8 };

typedef struct {
    int64_t intermediate_size;
    int32_t gate;  /* 0 none, 1 sigmoid */
} shared_options;

typedef struct {
    const cot_config *router_spec, *experts_spec, *balance_spec, *capacity_spec, *shared_spec;
    cot_router     *router;
    cot_experts    *experts;
    cot_balance    *rules[MAX_RULES];
    int             rule_count;
    bool            limited;
    cot_capacity    capacity;
    bool            has_shared;
    shared_options  shared;
    cot_param      *shared_gate_up, *shared_down, *shared_gate;
    cot_param      *bias;        /* [E] buffer; NULL unless a rule moves it */
    int64_t        *tally;       /* [E] assignments of the step so far, with a bias ... */
    double         *moved;       /* ... and room for moving it */
    cot_param      *totals;      /* [E] buffer, what experts were given so far; NULL unless a rule goes by it */
    double         *given;       /* [E] what this step has given them */
} sparse;

#define PART(key, holds, help_) \
    {.name = #key, .kind = COT_OPTION_KIND_NODE, .offset = offsetof(sparse, key##_spec), .text = (holds), .help = (help_)}

static const cot_option options[] = {
    PART(router, "routers", "who goes where, e.g. {kind: top_k, top_k: 2}"),
    PART(experts, "experts", "the pool, e.g. {kind: ffn, num_experts: 8, intermediate_size: 512}"),
    PART(balance, "balance", "a list of rules, e.g. [{kind: aux, coef: 0.01}]"),
    PART(capacity, "capacity", "{capacity_factor: 1.25, policy: position, ...}; absent: dropless"),
    PART(shared, "shared", "an expert that sees every token: {intermediate_size: 512, gate: none|sigmoid}"),
    COT_OPTION_END,
};

const cot_option cot_shared_expert_options[] = {
    COT_OPTION_INT(shared_options, intermediate_size, 512, 1, 1e7, "hidden width of the shared expert"),
    COT_OPTION_CHOICE(shared_options, gate, 0, "none|sigmoid", "added as it is, or times sigmoid(w . x)"),
    COT_OPTION_END,
};

static cot_status setup_rules(sparse *s)
{
    const cot_config *list = s->balance_spec;
    if (!list) return COT_OK;
    if (cot_config_get_kind(list) != COT_CONFIG_LIST)
        return cot_fail(COT_INVALID, "%s:%d: balance is no list, expected one such as [{kind: aux, coef: 0.01}]", cot_config_file(list), cot_config_line(list));
    if (cot_config_size(list) > MAX_RULES)
        return cot_fail(COT_INVALID, "%s:%d: balance has %zu rules, expected at most %d", cot_config_file(list), cot_config_line(list),
                        cot_config_size(list), MAX_RULES);
    for (size_t i = 0; i < cot_config_size(list); i++) {
        COT_TRY(cot_balance_create(cot_config_at(list, i), &s->rules[i]));
        s->rule_count++;
    }
    return COT_OK;
}

static cot_status setup_shared(sparse *s, const cot_build *build)
{
    if (!s->shared_spec) return COT_OK;
    s->has_shared = true;
    COT_TRY(cot_options_apply(cot_shared_expert_options, &s->shared, s->shared_spec));
    COT_TRY(cot_build_weight(build, "shared.gate_up.weight", 0, 2 * s->shared.intermediate_size, build->hidden_size, &s->shared_gate_up));
    s->shared_gate_up->spec.row_parts = 2;
    s->shared_gate_up->spec.row_part[0] = s->shared_gate_up->spec.row_part[1] = s->shared.intermediate_size;
    COT_TRY(cot_build_weight(build, "shared.down.weight", 0, build->hidden_size, s->shared.intermediate_size, &s->shared_down));
    return s->shared.gate ? cot_build_weight(build, "shared.gate.weight", 0, 1, build->hidden_size, &s->shared_gate) : COT_OK;
}

static bool moves_bias(const sparse *s)
{
    for (int i = 0; i < s->rule_count; i++)
        if (s->rules[i]->ops->update_bias) return true;
    return false;
}

static cot_status setup_bias(sparse *s, const cot_build *build)
{
    const int64_t experts = s->router->num_experts;
    if (!moves_bias(s)) return COT_OK;
    if (!cot_router_is(s->router, COT_ROUTER_TAKES_BIAS))
        return cot_config_fail(s->balance_spec, "moves a bias, which router '%s' does not take: expected top_k, switch or deepseek",
                               s->router->ops->member.name);
    s->tally = cot_calloc((size_t)experts * sizeof *s->tally);
    s->moved = cot_calloc((size_t)experts * sizeof *s->moved);
    if (!s->tally || !s->moved) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a router's bias");
    COT_TRY(cot_build_vector(build, "router.bias", experts, COT_INIT_ZERO, &s->bias));
    s->bias->spec.update = COT_UPDATE_BUFFER;
    return COT_OK;
}

static const cot_balance *constraint_of(const sparse *s)
{
    for (int i = 0; i < s->rule_count; i++)
        if (s->rules[i]->ops->constrain) return s->rules[i];
    return NULL;
}

static cot_status setup_totals(sparse *s, const cot_build *build)
{
    if (!constraint_of(s)) return COT_OK;
    if (!cot_router_is(s->router, COT_ROUTER_SCORES) || s->router->columns != s->router->num_experts)
        return cot_config_fail(s->balance_spec, "leaves out experts, which router '%s' has no logits of", s->router->ops->member.name);
    s->given = cot_calloc((size_t)s->router->num_experts * sizeof *s->given);
    if (!s->given) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a router's totals");
    COT_TRY(cot_build_vector(build, "router.totals", s->router->num_experts, COT_INIT_ZERO, &s->totals));
    s->totals->spec.update = COT_UPDATE_BUFFER;
    return COT_OK;
}

/* Does a router with these traits form what the rule reads? */
static bool rule_fits(const cot_balance_ops *rule, uint32_t traits)
{
    return !(rule->reads_shares && traits & (COT_ROUTER_NO_SHARES | COT_ROUTER_NO_LOGITS)) &&
           !(rule->reads_logits && traits & (COT_ROUTER_NO_EXPERT_LOGITS | COT_ROUTER_NO_LOGITS));
}

/* Parts that contradict each other. */
static cot_status check_parts(const sparse *s)
{
    const char *router = s->router->ops->member.name;
    if (s->limited && s->experts->ops->by_token)
        return cot_config_fail(s->capacity_spec, "limits experts '%s', which take all that comes: expected no capacity",
                               s->experts->ops->member.name);
    for (int i = 0; i < s->rule_count; i++)
        if (!rule_fits(s->rules[i]->ops, s->router->ops->traits))
            return cot_config_fail(s->balance_spec, "has rule '%s', which reads a %s of every expert: router '%s' forms none",
                                   s->rules[i]->ops->member.name, s->rules[i]->ops->reads_shares ? "share" : "logit", router);
    if (s->limited && cot_router_is(s->router, COT_ROUTER_OWN_SLOTS))
        return cot_config_fail(s->capacity_spec, "limits router '%s', whose experts take a fixed number of tokens already: "
                               "expected no capacity", s->router->ops->member.name);
    return COT_OK;
}

static cot_status setup(cot_feed_forward *ffn, const cot_build *build)
{
    sparse *s = ffn->state;
    if (!s->router_spec || !s->experts_spec)
        return cot_config_fail(build->spec, "has no %s, expected {kind: sparse, router: {...}, experts: {...}}",
                               s->router_spec ? "experts" : "router");
    cot_build inner = *build;
    char prefix[128];
    snprintf(prefix, sizeof prefix, "%s.experts", build->prefix);
    inner.prefix = prefix;
    COT_TRY(cot_experts_create(s->experts_spec, &inner, &s->experts));
    snprintf(prefix, sizeof prefix, "%s.router", build->prefix);
    COT_TRY(cot_router_create(s->router_spec, s->experts->ops->count(s->experts), &inner, &s->router));
    COT_TRY(setup_rules(s));
    COT_TRY(setup_bias(s, build));
    COT_TRY(setup_totals(s, build));
    s->limited = s->capacity_spec != NULL;
    if (s->limited) COT_TRY(cot_options_apply(cot_capacity_options, &s->capacity, s->capacity_spec));
    COT_TRY(check_parts(s));
    return setup_shared(s, build);
}

static void teardown(cot_feed_forward *ffn)
{
    sparse *s = ffn->state;
    cot_router_destroy(s->router);
    cot_experts_destroy(s->experts);
    for (int i = 0; i < s->rule_count; i++) cot_balance_destroy(s->rules[i]);
    cot_free(s->tally);
    cot_free(s->moved);
    cot_free(s->given);
}

static void add_loss(cot_losses *losses, cot_tensor *loss, const char *kind, int32_t layer)
{
    if (losses->count == COT_MAX_LOSSES) return;
    const int n = losses->count++;
    losses->loss[n] = loss;
    losses->kind[n] = kind;
    losses->layer[n] = layer;
}

/* What balance rules ask for, and what the router itself does. */
static void add_losses(const sparse *s, cot_tape *tape, const cot_pass *pass, const cot_routing *routing, int32_t layer)
{
    if (!pass->losses) return;
    for (int i = 0; i < s->rule_count; i++)
        if (s->rules[i]->ops->loss) add_loss(pass->losses, cot_balance_loss(s->rules[i], tape, routing), s->rules[i]->ops->member.name, layer);
    if (routing->own_loss) add_loss(pass->losses, routing->own_loss, s->router->ops->member.name, layer);
}

/* ---- rewards ---- */

static bool is_rewarded(const cot_feed_forward *ffn) { return ((const sparse *)ffn->state)->router->ops->reward_loss != NULL; }

static cot_tensor *reward_loss(cot_feed_forward *ffn, cot_tape *tape, const cot_routing *routing, const double *reward)
{
    cot_router *router = ((sparse *)ffn->state)->router;
    return router->ops->reward_loss(router, tape, routing, reward);
}

static void await_reward(cot_feed_forward *ffn, const cot_pass *pass, const cot_routing *routing)
{
    if (!pass->rewarded || !is_rewarded(ffn) || pass->rewarded->count == COT_MAX_REWARDED) return;
    pass->rewarded->ffn[pass->rewarded->count] = ffn;
    pass->rewarded->routing[pass->rewarded->count++] = routing;
}

/* ---- the bias that rules move ---- */

/* Its values in double, [E] in the tape's arena. */
static const double *bias_values(const sparse *s, cot_tape *tape)
{
    if (!s->bias) return NULL;
    const int64_t experts = s->router->num_experts;
    double *bias = cot_tape_alloc(tape, (size_t)experts * sizeof *bias);
    for (int64_t e = 0; bias && e < experts; e++) bias[e] = cot_value_at(s->bias->value.data, s->bias->value.dtype, e);
    return bias;
}

static void tally(sparse *s, const cot_routing *routing)
{
    for (int64_t a = 0; s->tally && a < routing->assignments; a++)
        s->tally[routing->expert[a]] += routing->slot[a] != COT_SLOT_SKIPPED;
}

/* Logits without the experts that a rule leaves out. Every pass of a step starts from the totals before it, so that a second run
 * of a layer meets the same ones. */
static cot_tensor *constrain(sparse *s, cot_tape *tape, const cot_pass *pass, const cot_route_input *in, cot_tensor *logits)
{
    const cot_balance *rule = constraint_of(s);
    const int64_t experts = s->router->num_experts;
    if (!rule || !cot_tape_training(tape) || cot_tape_failed(tape)) return logits;
    double *totals = cot_tape_alloc(tape, (size_t)experts * sizeof *totals);
    uint8_t *blocked = cot_tape_alloc(tape, (size_t)cot_tensor_count(logits));
    if (cot_tape_failed(tape)) return logits;
    const cot_tensor *before = &s->totals->value;
    for (int64_t e = 0; e < experts; e++) totals[e] = cot_value_at(before->data, before->dtype, e);
    rule->ops->constrain(rule, logits, in->padding, totals, blocked);
    for (int64_t e = 0; pass->tally && e < experts; e++) s->given[e] += totals[e] - cot_value_at(before->data, before->dtype, e);
    return cot_mask_logits(tape, logits, blocked);
}

static void route(sparse *s, cot_tape *tape, const cot_pass *pass, const cot_route_input *in, cot_routing *routing)
{
    cot_scores scores = {0};
    s->router->ops->score(s->router, tape, in, &scores);
    scores.logits = constrain(s, tape, pass, in, scores.logits);
    cot_router_select(s->router, tape, in, &scores, routing);
}

static void add_totals(sparse *s)
{
    if (!s->totals) return;
    for (int64_t e = 0; e < s->router->num_experts; e++)
        cot_value_put(s->totals->value.data, s->totals->value.dtype, e, s->given[e], true);
    s->totals->version++;
}

static void begin_step(cot_feed_forward *ffn)
{
    sparse *s = ffn->state;
    if (s->given) memset(s->given, 0, (size_t)s->router->num_experts * sizeof *s->given);
    if (s->tally) memset(s->tally, 0, (size_t)s->router->num_experts * sizeof *s->tally);
    if (s->router->ops->begin_step) s->router->ops->begin_step(s->router);
}

static bool needs_vocabulary(const cot_feed_forward *ffn)
{
    return ((const sparse *)ffn->state)->router->ops->prepare != NULL;
}

static cot_status prepare(cot_feed_forward *ffn, const cot_vocabulary *vocabulary)
{
    cot_router *router = ((sparse *)ffn->state)->router;
    return router->ops->prepare(router, vocabulary);
}

static void end_step(cot_feed_forward *ffn)
{
    sparse *s = ffn->state;
    if (s->router->ops->end_step) s->router->ops->end_step(s->router);
    add_totals(s);
    if (!s->bias || s->bias->frozen) return;
    const cot_tensor *value = &s->bias->value;
    for (int64_t e = 0; e < s->router->num_experts; e++) s->moved[e] = cot_value_at(value->data, value->dtype, e);
    for (int i = 0; i < s->rule_count; i++)
        if (s->rules[i]->ops->update_bias)
            s->rules[i]->ops->update_bias(s->rules[i], s->tally, s->router->num_experts, s->moved);
    for (int64_t e = 0; e < s->router->num_experts; e++) cot_value_set(value->data, value->dtype, e, s->moved[e]);
    s->bias->version++;
}

static cot_tensor *add_shared(sparse *s, cot_tape *tape, cot_tensor *x, cot_tensor *residual)
{
    if (!s->shared.gate) return cot_swiglu_forward(tape, x, s->shared_gate_up, s->shared_down, residual);
    cot_tensor *logit = cot_router_linear(tape, x, cot_tape_param(tape, s->shared_gate));
    return cot_gated_add(tape, residual, logit, cot_swiglu_forward(tape, x, s->shared_gate_up, s->shared_down, NULL));
}

/* Pools that walk over tokens know no slots: what the router dropped weighs nothing. */
static void weigh_dropped(cot_tape *tape, cot_routing *routing)
{
    if (routing->dropped == 0) return;
    cot_tensor *use = cot_gate_constant(tape, routing->assignments, 1);
    for (int64_t a = 0; a < routing->assignments && !cot_tape_failed(tape); a++)
        if (routing->slot[a] == COT_SLOT_FULL) cot_value_set(use->data, use->dtype, a, 0);
    routing->gate = cot_gate_times(tape, routing->gate, use);
}

/* Every slot is a token of its expert's for the pool. */
static cot_routing route_slots(cot_tape *tape, const cot_routing *soft)
{
    const int64_t slots = cot_tensor_columns(soft->dispatch), count = soft->runs.count * slots;
    cot_routing out;
    cot_routing_start(tape, count, soft->experts, 1, count, &out);
    for (int64_t i = 0; i < out.assignments; i++) out.expert[i] = (int32_t)(i % slots / (slots / soft->experts));
    out.gate = cot_gate_constant(tape, out.assignments, 1);
    cot_routing_group(tape, &out);
    return out;
}

static cot_tensor *work_on_slots(sparse *s, cot_tape *tape, cot_tensor *x, const cot_routing *soft, const int32_t *live, cot_tensor *residual)
{
    const cot_soft_runs runs = {soft->runs.count, soft->runs.offset, live};
    cot_routing *routing = cot_tape_alloc(tape, sizeof *routing);
    cot_tensor *slots = cot_slots_from_tokens(tape, x, soft->dispatch, &runs);
    if (cot_tape_failed(tape)) return residual;
    *routing = route_slots(tape, soft);
    cot_tensor *zero = cot_gate_constant(tape, cot_tensor_count(slots), 0);
    if (cot_tape_failed(tape)) return residual;
    cot_tensor *none = cot_reshape(tape, zero, 2, slots->shape);
    cot_tensor *worked = s->experts->ops->forward(s->experts, tape, slots, routing, none);
    return cot_tokens_from_slots(tape, worked, soft->combine, &runs, residual);
}

static cot_tensor *forward(cot_feed_forward *ffn, cot_tape *tape, const cot_pass *pass, cot_tensor *x, cot_tensor *residual)
{
    sparse *s = ffn->state;
    const int32_t layer = ffn->build.layer;
    cot_route_input in = cot_route_input_make(tape, pass, x);
    cot_routing *routing = cot_tape_alloc(tape, sizeof *routing);
    if (!routing) return residual;
    memset(routing, 0, sizeof *routing);
    in.bias = bias_values(s, tape);
    cot_tape_hold_kind(tape, COT_TIME_ROUTING);
    route(s, tape, pass, &in, routing);
    cot_tape_release_kind(tape);
    if (cot_tape_failed(tape)) return residual;
    if (pass->tally) tally(s, routing);
    add_losses(s, tape, pass, routing, layer);
    if (s->experts->ops->by_token) weigh_dropped(tape, routing);
    else cot_capacity_apply(tape, s->limited ? &s->capacity : NULL, (uint32_t)layer, routing);
    const int32_t *live = routing->live;
    cot_routing_expand(routing);
    if (!s->experts->ops->by_token && !routing->dispatch) cot_routing_group(tape, routing);
    if (cot_tape_failed(tape)) return residual;
    if (pass->observe) pass->observe(pass->context, layer, routing);
    await_reward(ffn, pass, routing);
    residual = routing->dispatch ? work_on_slots(s, tape, x, routing, live, residual)
                                 : s->experts->ops->forward(s->experts, tape, x, routing, residual);
    return s->has_shared ? add_shared(s, tape, x, residual) : residual;
}

static cot_cost cost(const cot_feed_forward *ffn)
{
    const sparse *s = ffn->state;
    const double d = (double)ffn->build.hidden_size, experts = (double)s->router->num_experts;
    cot_cost c = s->experts->ops->cost(s->experts, fmin(s->router->choices, experts));
    const bool noisy = s->router->ops->traits & COT_ROUTER_NOISY;
    c.flops += s->router->ops->flops ? s->router->ops->flops(s->router) : (noisy ? 4 : 2) * d * experts;
    if (s->has_shared) c.flops += 6 * d * (double)s->shared.intermediate_size + (s->shared.gate ? 2 * d : 0);
    return c;
}

static int64_t num_experts(const cot_feed_forward *ffn) { return ((const sparse *)ffn->state)->router->num_experts; }

static int64_t sub_keys(const cot_feed_forward *ffn)
{
    const cot_router *router = ((const sparse *)ffn->state)->router;
    return cot_router_is(router, COT_ROUTER_SQUARE) ? llround(sqrt((double)router->num_experts)) : 0;
}

/* The coefficient of an aux rule in the published form, whose fractions count choices per token and so add up to top_k. */
static double published_coef(const sparse *s, int rule)
{
    const cot_config *spec = cot_config_at(s->balance_spec, (size_t)rule);
    const char *choices = cot_config_text(cot_config_get(spec, "choices"));
    bool divided = true;
    (void)cot_config_bool(cot_config_get(spec, "divide_by_k"), &divided);
    const bool to_one = divided || (choices && strcmp(choices, "first") == 0);
    return cot_balance_coef(s->rules[rule]) / (to_one ? (double)s->router->top_k : 1);
}

/* How the router's gates are normalised is read from its options; whatever published routers lack is named in card->beyond. */
static void describe(const cot_feed_forward *ffn, cot_model_card *card)
{
    const sparse *s = ffn->state;
    const cot_member *router = &s->router->ops->member;
    const bool *normalised = cot_option_field(router->options, s->router->state, "norm_topk_prob", COT_OPTION_KIND_BOOL);
    const int32_t *softmax = cot_option_field(router->options, s->router->state, "softmax", COT_OPTION_KIND_CHOICE);
    const cot_experts_ops *pool = s->experts->ops;
    if (pool->describe) pool->describe(s->experts, card);
    else card->beyond = pool->beyond;
    card->top_k = s->router->top_k;
    card->norm_topk_prob = !normalised || *normalised || (softmax && *softmax == 1);
    for (int i = 0; i < s->rule_count; i++)
        if (strcmp(s->rules[i]->ops->member.name, "aux") == 0) card->router_aux_loss_coef = published_coef(s, i);
    card->shared_intermediate_size = s->has_shared ? s->shared.intermediate_size : 0;
    card->shared_gate = s->has_shared && s->shared.gate;
    if (strcmp(router->name, "top_k") != 0) card->beyond = router->summary;
    if (s->bias) card->beyond = "a bias on the choice of experts";
    if (s->limited) card->beyond = "expert capacity";
}

static void text(const cot_feed_forward *ffn, char *out, size_t size)
{
    const sparse *s = ffn->state;
    char pool[96];
    s->experts->ops->text(s->experts, pool, sizeof pool);
    const bool ahead = !cot_router_is(s->router, COT_ROUTER_CAUSAL) || (s->limited && s->capacity.policy != COT_CAPACITY_POSITION);
    const int n = snprintf(out, size, "%s, %g per token (%s router%s)", pool, s->router->choices, s->router->ops->member.name,
                           ahead ? ", looks ahead" : "");
    if (s->has_shared && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, ", shared expert of %lld%s", (long long)s->shared.intermediate_size, s->shared.gate ? " with a gate" : "");
}

const cot_feed_forward_ops cot_feed_forward_sparse = {
    .member = {"sparse", "shazeer2017outrageously", "a router, a pool of experts and balance rules", options},
    .state_size = sizeof(sparse),
    .setup = setup,
    .forward = forward,
    .cost = cost,
    .num_experts = num_experts,
    .sub_keys = sub_keys,
    .describe = describe,
    .text = text,
    .is_rewarded = is_rewarded,
    .reward_loss = reward_loss,
    .needs_vocabulary = needs_vocabulary,
    .prepare = prepare,
    .begin_step = begin_step,
    .end_step = end_step,
    .teardown = teardown,
};
