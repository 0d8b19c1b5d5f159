/* The router lab: one routing of a given matrix on an f64 tape. */
#include <coterie/route.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "balance/balance.h"
#include "base/fail.h"
#include "base/memory.h"
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
    cot_tensor     *logits, *raw_noise_std, **losses;
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
    const cot_status status = cot_router_create(spec, l->given.experts, &build, &l->router);
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
    l->losses = take(l, spec->balance_count, sizeof *l->losses);
    if (!l->rules || !l->losses) return no_memory();
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

static cot_status run(lab *l, const cot_route_spec *spec)
{
    const int64_t shape[2] = {l->given.tokens, l->given.experts};
    const size_t cells = (size_t)(shape[0] * shape[1]);
    double *raw = l->given.raw_noise_std ? l->given.raw_noise_std : take(l, cells, sizeof *raw);
    if (!raw) return no_memory();
    COT_TRY(cot_tape_create(COT_MODE_F64, &l->tape));
    cot_tape_reset(l->tape, spec->gradient, l->given.training, spec->seed, 0);
    cot_tape_enter(l->tape, "router lab");
    l->logits = cot_tape_wrap(l->tape, COT_F64, 2, shape, l->given.logits, true);
    l->raw_noise_std = cot_tape_wrap(l->tape, COT_F64, 2, shape, raw, true);
    const cot_scores scores = {.logits = l->logits, .raw_noise_std = l->given.training ? l->raw_noise_std : NULL};
    const cot_route_input in = {.tokens = shape[0], .ids = l->given.ids, .first = l->given.first,
                                .noise = l->given.noise};
    l->router->ops->select(l->router, l->tape, &in, &scores, &l->routing);
    cot_capacity_apply(l->tape, l->dropless ? NULL : &l->capacity, 0, &l->routing);
    COT_TRY(cot_tape_status(l->tape));
    for (size_t i = 0; i < l->rule_count; i++) l->losses[i] = cot_balance_loss(l->rules[i], l->tape, &l->routing);
    cot_tensor *total = cot_weighted_sum(l->tape, l->losses, NULL, (int64_t)l->rule_count);
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
    char **names = take(l, l->rule_count, sizeof *names);
    double *values = take(l, l->rule_count, sizeof *values);
    if (!names || !values) return false;
    for (size_t i = 0; i < l->rule_count; i++) {
        const char *kind = l->rules[i]->ops->member.name;
        size_t earlier = 0;
        for (size_t j = 0; j < i; j++) earlier += l->rules[j]->ops == l->rules[i]->ops;
        const size_t bytes = strlen(kind) + 24;
        if (!(names[i] = take(l, bytes, 1))) return false;
        if (earlier) snprintf(names[i], bytes, "%s.%zu", kind, earlier + 1);
        else snprintf(names[i], bytes, "%s", kind);
        values[i] = *(const double *)l->losses[i]->data;
    }
    r->loss_name = (const char *const *)names;
    r->loss = values;
    r->loss_count = l->rule_count;
    return true;
}

static bool count_use(lab *l, cot_route_result *r)
{
    int64_t *load = take(l, (size_t)r->experts, sizeof *load);
    double *importance = take(l, (size_t)r->experts, sizeof *importance);
    if (!load || !importance) return false;
    for (int64_t a = 0; a < r->assignments; a++) {
        load[r->expert[a]]++;
        importance[r->expert[a]] += r->gate[a];
    }
    r->load = load;
    r->importance = importance;
    return true;
}

static cot_status fill_result(lab *l, bool gradient, cot_route_result *r)
{
    const cot_routing *routing = &l->routing;
    const size_t count = (size_t)routing->assignments, cells = (size_t)(routing->tokens * routing->experts);
    r->tokens = routing->tokens;
    r->experts = routing->experts;
    r->assignments = routing->assignments;
    r->capacity = routing->capacity;
    r->token = copied(l, routing->token, count, sizeof *r->token);
    r->expert = copied(l, routing->expert, count, sizeof *r->expert);
    r->slot = copied(l, routing->slot, count, sizeof *r->slot);
    r->gate = copied(l, routing->gate->data, count, sizeof *r->gate);
    r->probability = copied(l, routing->probs->data, cells, sizeof *r->probability);
    if (!r->token || !r->expert || !r->slot || !r->gate || !r->probability || !count_use(l, r) || !name_losses(l, r))
        return no_memory();
    if (!gradient) return COT_OK;
    r->gradient_logits = copied(l, l->logits->grad, cells, sizeof(double));  /* nothing flowed: zeros */
    const bool noisy = routing->noise_std || l->given.raw_noise_std;
    if (noisy) r->gradient_raw_noise_std = copied(l, l->raw_noise_std->grad, cells, sizeof(double));
    return r->gradient_logits && (!noisy || r->gradient_raw_noise_std) ? COT_OK : no_memory();
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
    for (int64_t i = 0; r->gradient_logits && i < r->tokens * r->experts; i++)
        if (!isfinite(r->gradient_logits[i]) || (r->gradient_raw_noise_std && !isfinite(r->gradient_raw_noise_std[i])))
            return cot_fail(COT_NOT_FINITE, "the gradient at token %" PRId64 ", expert %" PRId64 " is not finite",
                            i / r->experts, i % r->experts);
    return COT_OK;
}

static cot_status route(lab *l, const cot_route_spec *spec, const char *json, size_t length, cot_route_result **out)
{
    cot_route_result *r = take(l, 1, sizeof *r);
    if (!r) return no_memory();
    COT_TRY(cot_route_case_read(json, length, l->arena, &l->given));
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
