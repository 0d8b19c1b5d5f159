/* The router lab: one routing of a given matrix on an f64 tape. */
#include <coterie/route.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "balance/balance.h"
#include "base/fail.h"
#include "base/memory.h"
#include "ops/mask_logits.h"
#include "ops/weighted_sum.h"
#include "routers/router.h"
#include "routing/capacity.h"
#include "study/route_json.h"

/* What one run takes and has to give back. */
typedef struct {
    cot_arena      *arena;    /* holds the result; kept on success */
    cot_route_case  given;
    cot_router     *router;
    cot_balance   **rules;
    size_t          rule_count;
    cot_capacity    capacity;
    bool            dropless;
    cot_tape       *tape;
    cot_tensor     *logits, *raw_noise_std, *primary, **losses;
    cot_tensor     *gate;        /* before capacity */
    const cot_member **loss_member;  /* the rule, or the router itself */
    size_t          loss_count;
    cot_routing     routing;
} lab;

static void *take(lab *l, size_t count, size_t size)
{
    size_t bytes;
    void *memory = cot_size_mul(count, size, &bytes) ? cot_arena_alloc(l->arena, bytes) : NULL;
    if (memory) memset(memory, 0, bytes);
    return memory;
}

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "no memory for the router lab"); }

static void clean_up(lab *l)
{
    for (size_t i = 0; i < l->rule_count; i++) cot_balance_destroy(l->rules[i]);
    cot_router_destroy(l->router);
    cot_tape_destroy(l->tape);
}

/* ---- from specs to objects ---- */

static cot_status make_router(lab *l, const char *text)
{
    cot_config *spec = NULL;
    if (!text) return cot_fail(COT_INVALID, "no router given, expected one such as '{kind: top_k, top_k: 2}'");
    COT_TRY(cot_config_parse(text, "router", &spec));
    const cot_build build = {.hidden_size = 1, .num_layers = 1};
    int64_t experts;
    cot_status status = cot_router_experts_of(spec, l->given.columns, &experts);
    if (status == COT_OK) status = cot_router_create(spec, experts, &build, &l->router);
    cot_config_destroy(spec);
    return status;
}

static cot_status make_rule(const char *text, cot_balance **out)
{
    cot_config *spec = NULL;
    COT_TRY(cot_config_parse(text, "balance", &spec));
    const cot_status status = cot_balance_create(spec, out);
    cot_config_destroy(spec);
    return status;
}

static cot_status make_rules(lab *l, const cot_route_spec *spec)
{
    l->rules = take(l, spec->balance_count, sizeof *l->rules);
    l->losses = take(l, spec->balance_count + 1, sizeof *l->losses);
    l->loss_member = take(l, spec->balance_count + 1, sizeof *l->loss_member);
    if (!l->rules || !l->losses || !l->loss_member) return no_memory();
    for (size_t i = 0; i < spec->balance_count; i++) {
        COT_TRY(make_rule(spec->balance[i], &l->rules[i]));
        l->rule_count++;
    }
    return COT_OK;
}

static cot_status make_capacity(lab *l, const char *text)
{
    cot_config *spec = NULL;
    l->dropless = text == NULL;
    if (!text) return COT_OK;
    COT_TRY(cot_config_parse(text, "capacity", &spec));
    const cot_status status = cot_options_apply(cot_capacity_options, &l->capacity, spec);
    cot_config_destroy(spec);
    return status;
}

/* ---- the run ---- */

static cot_route_input input_of(const cot_route_case *c)
{
    return (cot_route_input){.tokens = c->tokens, .ids = c->ids, .previous = c->previous, .position = c->position,
                             .labels = c->labels, .targets = c->targets, .noise = c->noise, .bias = c->bias,
                             .thresholds = c->thresholds, .groups = c->groups, .sequences = c->sequences};
}

static cot_status check_parts(const lab *l)
{
    const char *name = l->router->ops->member.name;
    if (!l->dropless && cot_router_is(l->router, COT_ROUTER_OWN_SLOTS))
        return cot_fail(COT_INVALID, "experts of router '%s' take a fixed number of tokens already: expected no capacity", name);
    bool biased = l->given.bias != NULL;
    for (size_t i = 0; i < l->rule_count; i++) biased = biased || l->rules[i]->ops->update_bias;
    if (biased && !cot_router_is(l->router, COT_ROUTER_TAKES_BIAS))
        return cot_fail(COT_INVALID, "router '%s' takes no bias", name);
    return COT_OK;
}

static void add_loss(lab *l, cot_tensor *loss, const cot_member *member)
{
    l->loss_member[l->loss_count] = member;
    l->losses[l->loss_count++] = loss;
}

/* Rewards of live tokens. */
static cot_tensor *reward_loss(lab *l)
{
    const int64_t rows = l->routing.tokens;
    double *reward = cot_tape_alloc(l->tape, (size_t)rows * sizeof *reward);
    for (int64_t t = 0; reward && t < rows; t++) reward[t] = l->given.reward[l->routing.live ? l->routing.live[t] : t];
    return l->router->ops->reward_loss(l->router, l->tape, &l->routing, reward);
}

/* Losses first: they see gates and counts as they are before capacity. */
static void add_losses(lab *l)
{
    for (size_t i = 0; i < l->rule_count; i++)
        if (l->rules[i]->ops->loss)
            add_loss(l, cot_balance_loss(l->rules[i], l->tape, &l->routing), &l->rules[i]->ops->member);
    if (l->routing.own_loss) add_loss(l, l->routing.own_loss, &l->router->ops->member);
    if (l->given.reward && l->router->ops->reward_loss) add_loss(l, reward_loss(l), &l->router->ops->member);
}

/* Logits without what a rule leaves out in training; totals start at 0. */
static cot_tensor *constrained(lab *l)
{
    cot_tensor *logits = l->logits;
    for (size_t i = 0; i < l->rule_count && l->given.training; i++) {
        if (!l->rules[i]->ops->constrain) continue;
        double *totals = take(l, (size_t)l->given.columns, sizeof *totals);
        uint8_t *blocked = take(l, (size_t)cot_tensor_count(logits), 1);
        if (!totals || !blocked) {
            cot_tape_fail(l->tape, no_memory());
            return logits;
        }
        l->rules[i]->ops->constrain(l->rules[i], logits, NULL, totals, blocked);
        logits = cot_mask_logits(l->tape, logits, blocked);
    }
    return logits;
}

static cot_status run(lab *l, const cot_route_spec *spec)
{
    const cot_route_case *c = &l->given;
    const int64_t shape[2] = {c->tokens, c->columns}, primary[2] = {c->tokens, c->primary_columns};
    double *raw = c->raw_noise_std ? c->raw_noise_std : take(l, (size_t)(shape[0] * shape[1]), sizeof *raw);
    if (!raw) return no_memory();
    COT_TRY(check_parts(l));
    COT_TRY(cot_tape_create(COT_MODE_F64, &l->tape));
    cot_tape_reset(l->tape, spec->gradient, c->training, spec->seed, 0);
    cot_tape_enter(l->tape, "router lab");
    l->logits = cot_tape_wrap(l->tape, COT_F64, 2, shape, c->logits, true);
    l->raw_noise_std = cot_tape_wrap(l->tape, COT_F64, 2, shape, raw, true);
    l->primary = c->primary ? cot_tape_wrap(l->tape, COT_F64, 2, primary, c->primary, true) : NULL;
    const cot_scores scores = {.logits = constrained(l), .raw_noise_std = c->training ? l->raw_noise_std : NULL,
                               .primary = l->primary};
    const cot_route_input in = input_of(c);
    cot_router_select(l->router, l->tape, &in, &scores, &l->routing);
    COT_TRY(cot_tape_status(l->tape));
    add_losses(l);
    l->gate = l->routing.gate;
    cot_capacity_apply(l->tape, l->dropless ? NULL : &l->capacity, 0, &l->routing);
    cot_tensor *total = cot_weighted_sum(l->tape, l->losses, NULL, (int64_t)l->loss_count);
    if (spec->gradient) cot_tape_backward(l->tape, total, 1);
    return cot_tape_status(l->tape);
}

/* ---- the result ---- */

static void *copied(lab *l, const void *from, size_t count, size_t size)
{
    void *copy = take(l, count, size);
    if (copy && from) memcpy(copy, from, count * size);
    return copy;
}

static bool name_losses(lab *l, cot_route_result *r)
{
    char **names = take(l, l->loss_count, sizeof *names);
    double *values = take(l, l->loss_count, sizeof *values);
    if (!names || !values) return false;
    for (size_t i = 0; i < l->loss_count; i++) {
        const char *kind = l->loss_member[i]->name;
        size_t earlier = 0;
        for (size_t j = 0; j < i; j++) earlier += l->loss_member[j] == l->loss_member[i];
        const size_t bytes = strlen(kind) + 24;
        if (!(names[i] = take(l, bytes, 1))) return false;
        if (earlier) snprintf(names[i], bytes, "%s.%zu", kind, earlier + 1);
        else snprintf(names[i], bytes, "%s", kind);
        values[i] = *(const double *)l->losses[i]->data;
    }
    r->loss_name = (const char *const *)names;
    r->loss = values;
    r->loss_count = l->loss_count;
    return true;
}

static bool count_use(lab *l, cot_route_result *r)
{
    int64_t *load = take(l, (size_t)r->experts, sizeof *load);
    double *importance = take(l, (size_t)r->experts, sizeof *importance);
    if (!load || !importance) return false;
    for (int64_t a = 0; a < r->assignments; a++) {
        if (r->slot[a] == COT_SLOT_SKIPPED) continue;
        load[r->expert[a]]++;
        importance[r->expert[a]] += ((const double *)l->gate->data)[a];
    }
    r->load = load;
    r->importance = importance;
    return true;
}

/* The bias after a step, if a rule moves it. */
static bool move_bias(lab *l, cot_route_result *r)
{
    double *bias = take(l, (size_t)r->experts, sizeof *bias);
    bool moves = false;
    if (!bias) return false;
    if (l->given.bias) memcpy(bias, l->given.bias, (size_t)r->experts * sizeof *bias);
    for (size_t i = 0; i < l->rule_count; i++) {
        if (!l->rules[i]->ops->update_bias) continue;
        l->rules[i]->ops->update_bias(l->rules[i], r->load, r->experts, bias);
        moves = true;
    }
    r->bias = moves ? bias : NULL;
    return true;
}

/* A matrix [live tokens, columns] as rows of all tokens; others, and all without such a matrix, have zeros. */
static const double *all_rows(lab *l, const cot_tensor *live_rows, int64_t columns)
{
    const cot_routing *routing = &l->routing;
    const int64_t rows = live_rows ? cot_tensor_rows(live_rows) : 0;
    double *out = take(l, (size_t)(l->given.tokens * columns), sizeof *out);
    if (!out || !rows || cot_tensor_columns(live_rows) != columns) return out;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t t = routing->live ? routing->live[i] : i;
        memcpy(out + t * columns, (const double *)live_rows->data + i * columns, (size_t)columns * sizeof *out);
    }
    return out;
}

static bool copy_slots(lab *l, cot_route_result *r)
{
    const cot_routing *routing = &l->routing;
    if (!routing->dispatch) return true;
    r->slots = cot_tensor_columns(routing->dispatch);
    r->dispatch = all_rows(l, routing->dispatch, r->slots);
    r->combine = all_rows(l, routing->combine, r->slots);
    return r->dispatch && r->combine;
}

static cot_status fill_gradients(lab *l, cot_route_result *r)
{
    const size_t cells = (size_t)(r->tokens * r->columns), primary = (size_t)(r->tokens * r->primary_columns);
    const bool noisy = l->routing.noise_std || l->given.raw_noise_std;
    r->gradient_logits = copied(l, l->logits->grad, cells, sizeof(double));  /* nothing flowed: zeros */
    if (noisy) r->gradient_raw_noise_std = copied(l, l->raw_noise_std->grad, cells, sizeof(double));
    if (l->primary) r->gradient_primary_logits = copied(l, l->primary->grad, primary, sizeof(double));
    return r->gradient_logits && (!noisy || r->gradient_raw_noise_std) && (!l->primary || r->gradient_primary_logits)
               ? COT_OK : no_memory();
}

static cot_status fill_result(lab *l, bool gradient, cot_route_result *r)
{
    cot_routing *routing = &l->routing;
    const size_t count = (size_t)routing->assignments;
    r->tokens = l->given.tokens;
    r->columns = l->given.columns;
    r->primary_columns = l->given.primary_columns;
    r->experts = routing->experts;
    r->assignments = routing->assignments;
    r->capacity = routing->capacity;
    r->probability = all_rows(l, routing->probs, routing->experts);
    if (!copy_slots(l, r)) return no_memory();
    cot_routing_expand(routing);
    r->token = copied(l, routing->token, count, sizeof *r->token);
    r->expert = copied(l, routing->expert, count, sizeof *r->expert);
    r->slot = copied(l, routing->slot, count, sizeof *r->slot);
    r->gate = copied(l, routing->gate->data, count, sizeof *r->gate);
    if (!r->token || !r->expert || !r->slot || !r->gate || !r->probability || !count_use(l, r) || !name_losses(l, r) ||
        !move_bias(l, r))
        return no_memory();
    return gradient ? fill_gradients(l, r) : COT_OK;
}

static bool all_finite(const double *values, int64_t rows, int64_t columns, int64_t *where)
{
    for (*where = 0; values && *where < rows * columns; (*where)++)
        if (!isfinite(values[*where])) return false;
    return true;
}

/* Finite logits of any size are welcome, but their losses may overflow. */
static cot_status check_finite(const cot_route_result *r)
{
    for (size_t i = 0; i < r->loss_count; i++)
        if (!isfinite(r->loss[i])) return cot_fail(COT_NOT_FINITE, "loss '%s' is not finite", r->loss_name[i]);
    for (int64_t a = 0; a < r->assignments; a++)
        if (!isfinite(r->gate[a]))
            return cot_fail(COT_NOT_FINITE, "the gate of token %d for expert %d is not finite", r->token[a],
                            r->expert[a]);
    int64_t i;
    if (!all_finite(r->gradient_logits, r->tokens, r->columns, &i) ||
        !all_finite(r->gradient_raw_noise_std, r->tokens, r->columns, &i))
        return cot_fail(COT_NOT_FINITE, "the gradient at token %" PRId64 ", expert %" PRId64 " is not finite",
                        i / r->columns, i % r->columns);
    if (!all_finite(r->gradient_primary_logits, r->tokens, r->primary_columns, &i))
        return cot_fail(COT_NOT_FINITE, "the gradient of the primary logits is not finite at token %" PRId64,
                        i / r->primary_columns);
    return COT_OK;
}

static cot_status route(lab *l, const cot_route_spec *spec, const char *json, size_t length, cot_route_result **out)
{
    cot_route_result *r = take(l, 1, sizeof *r);
    if (!r) return no_memory();
    COT_TRY(cot_route_case_read(json, length, spec->name, l->arena, &l->given));
    COT_TRY(make_router(l, spec->router));
    COT_TRY(make_rules(l, spec));
    COT_TRY(make_capacity(l, spec->capacity));
    COT_TRY(run(l, spec));
    COT_TRY(fill_result(l, spec->gradient, r));
    COT_TRY(check_finite(r));
    r->memory = l->arena;
    *out = r;
    return COT_OK;
}

cot_status cot_route(const cot_route_spec *spec, const char *json, size_t length, cot_route_result **out)
{
    lab l = {.arena = cot_arena_create()};
    *out = NULL;
    if (!l.arena) return no_memory();
    const cot_status status = route(&l, spec, json, length, out);
    clean_up(&l);
    if (status != COT_OK) cot_arena_destroy(l.arena);
    return status;
}

void cot_route_result_destroy(cot_route_result *result)
{
    if (result) cot_arena_destroy(result->memory);
}
