#include "routers/router.h"

#include <math.h>
#include <string.h>

#include "base/config_tree.h"
#include "base/fail.h"
#include "base/memory.h"
#include "ops/round_bf16.h"
#include "ops/router_linear.h"
#include "ops/softmax.h"
#include "ops/top_k_rows.h"
#include "ops/pieces.h"
#include "ops/ragged_gate.h"
#include "ops/values.h"

#define ROUTER(id) extern const cot_router_ops cot_router_##id;
#include "routers/routers.def"
#undef ROUTER

static const cot_router_ops *const routers[] = {
#define ROUTER(id) &cot_router_##id,
#include "routers/routers.def"
#undef ROUTER
};

enum { LISTED = sizeof routers / sizeof *routers, REGISTERED_MAX = 64 };

static const cot_router_ops *registered[REGISTERED_MAX];
static size_t                registered_count;

const cot_member *cot_router_at(size_t index)
{
    if (index < LISTED) return &routers[index]->member;
    return index - LISTED < registered_count ? &registered[index - LISTED]->member : NULL;
}

cot_status cot_router_register(const cot_router_ops *ops)
{
    const cot_member *member;
    for (size_t i = 0; (member = cot_router_at(i)) != NULL; i++)
        if (strcmp(member->name, ops->member.name) == 0)
            return cot_fail(COT_INVALID, "there is a router '%s' already", member->name);
    if (registered_count == REGISTERED_MAX)
        return cot_fail(COT_INVALID, "router '%s' is one too many, expected at most %d", ops->member.name,
                        REGISTERED_MAX);
    registered[registered_count++] = ops;
    return COT_OK;
}

cot_status cot_router_create(const cot_config *spec, int64_t num_experts, const cot_build *build, cot_router **out)
{
    *out = NULL;
    const cot_member *member;
    COT_TRY(cot_family_find("router", cot_router_at, spec, &member));
    cot_router *r = cot_calloc(sizeof *r);
    if (!r) return cot_fail(COT_OUT_OF_MEMORY, "no memory for router '%s'", member->name);
    r->ops = (const cot_router_ops *)member;
    r->num_experts = num_experts;
    r->build = *build;
    r->build.prefix = NULL;
    cot_status status = cot_state_create(member, r->ops->state_size, spec, &r->state);
    if (status == COT_OK) status = r->ops->setup(r, build);
    if (status == COT_OK && r->columns == 0) r->columns = num_experts;
    if (status == COT_OK && r->choices == 0) r->choices = (double)r->top_k;
    if (status == COT_OK && r->top_k > num_experts)
        status = cot_config_fail(cot_config_get(spec, "top_k") ? cot_config_get(spec, "top_k") : spec,
                                 "asks router '%s' for %lld experts per token, expected at most num_experts = %lld",
                                 member->name, (long long)r->top_k, (long long)num_experts);
    if (status == COT_OK) *out = r;
    else cot_router_destroy(r);
    return status;
}

cot_status cot_router_experts_of(const cot_config *spec, int64_t columns, int64_t *experts)
{
    const cot_member *member;
    *experts = columns;
    COT_TRY(cot_family_find("router", cot_router_at, spec, &member));
    const cot_router_ops *ops = (const cot_router_ops *)member;
    if (ops->experts_of) *experts = ops->experts_of(spec, columns);
    if (*experts > 0) return COT_OK;
    return cot_config_fail(spec, "does not fit %lld columns of logits: expected a multiple of what router '%s' reads for a head",
                           (long long)columns, member->name);
}

void cot_router_destroy(cot_router *r)
{
    if (!r) return;
    if (r->state && r->ops->teardown) r->ops->teardown(r);
    cot_state_destroy(&r->ops->member, r->state);
    cot_free(r);
}

void cot_router_run(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_routing *out)
{
    cot_scores scores = {0};
    r->ops->score(r, tape, in, &scores);
    cot_router_select(r, tape, in, &scores, out);
}

/* ---- for members ---- */

cot_status cot_router_add_weight(cot_router *r, const cot_build *build, const char *name, bool zero, cot_param **out)
{
    if (!build->params) return COT_OK;
    COT_TRY(cot_build_weight(build, name, 0, r->num_experts, build->hidden_size, out));
    if (zero) (*out)->spec.init = (cot_init){COT_INIT_ZERO, 0};
    return COT_OK;
}

cot_tensor *cot_router_no_logits(const cot_router *r, cot_tape *tape, int64_t tokens)
{
    cot_tensor *zero = cot_tape_matrix(tape, cot_tape_real(tape), tokens, r->num_experts, false);
    if (!cot_tape_failed(tape)) memset(zero->data, 0, (size_t)cot_tensor_count(zero) * cot_dtype_size(zero->dtype));
    return zero;
}

cot_tensor *cot_router_round(const cot_router *r, cot_tape *tape, cot_tensor *t)
{
    const cot_router_common *common = r->state;
    return common->router_dtype == COT_ROUTER_BF16 ? cot_round_bf16(tape, t) : t;
}

cot_tensor *cot_router_logits(const cot_router *r, cot_tape *tape, cot_tensor *x, cot_param *weight)
{
    return cot_router_linear(tape, cot_router_round(r, tape, x),
                             cot_router_round(r, tape, cot_tape_param(tape, weight)));
}

void cot_router_check_finite(cot_tape *tape, const cot_tensor *logits)
{
    const int64_t count = cot_tensor_count(logits), pieces = cot_pieces(count, COT_PIECE_ELEMENTS);
    int64_t bad = 0;
    if (cot_tape_failed(tape)) return;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static) reduction(+ : bad)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t i = p * COT_PIECE_ELEMENTS; i < cot_piece_end(p, COT_PIECE_ELEMENTS, count); i++)
            bad += !(cot_value_at(logits->data, logits->dtype, i) < INFINITY);
    if (bad) cot_top_k_fail(tape, bad, count);
}

void cot_router_choose(const cot_router *r, cot_tape *tape, cot_tensor *clean, cot_tensor *ranked, cot_routing *out)
{
    const int64_t tokens = cot_tensor_rows(clean), k = r->top_k;
    cot_routing_start(tape, tokens, r->num_experts, k, tokens * k, out);
    out->logits = ranked;
    out->clean_logits = clean;
    out->probs = cot_router_round(r, tape, cot_softmax(tape, clean));
    if (!cot_tape_failed(tape)) cot_top_k_rows(tape, ranked, k, out->expert);
}

/* Probability + bias, minus infinity where `clean` masks; constant. */
static cot_tensor *add_bias(cot_tape *tape, const cot_tensor *clean, const cot_tensor *probs, const double *bias)
{
    const cot_dtype real = clean->dtype;
    const int64_t rows = cot_tensor_rows(clean), experts = cot_tensor_columns(clean);
    cot_tensor *sum = cot_tape_matrix(tape, real, rows, experts, false);
    for (int64_t i = 0; !cot_tape_failed(tape) && i < rows * experts; i++) {
        const bool masked = !(cot_value_at(clean->data, real, i) > -INFINITY);
        cot_value_set(sum->data, real, i, masked ? -INFINITY : cot_value_at(probs->data, real, i) + bias[i % experts]);
    }
    return sum;
}

const double *cot_router_bias(const double *bias, int64_t experts)
{
    for (int64_t e = 1; bias && e < experts; e++)
        if (bias[e] != bias[0]) return bias;
    return NULL;
}

void cot_router_choose_with(const cot_router *r, cot_tape *tape, cot_tensor *logits, const double *bias, cot_routing *out)
{
    cot_router_choose(r, tape, logits, logits, out);
    bias = cot_router_bias(bias, r->num_experts);
    if (!bias || cot_tape_failed(tape)) return;
    const cot_tensor *ranked = add_bias(tape, logits, out->probs, bias);
    if (!cot_tape_failed(tape)) cot_top_k_rows(tape, ranked, r->top_k, out->expert);
}

void cot_router_above(const cot_router *r, cot_tape *tape, cot_tensor *weight, double threshold, cot_routing *out)
{
    const int64_t experts = r->num_experts, rows = weight->shape[0];
    const size_t mark = cot_tape_scratch_mark(tape);
    int32_t *order = cot_tape_scratch(tape, (size_t)(rows * experts) * sizeof *order);
    int64_t count = 0, a = 0;
    if (cot_tape_failed(tape)) return;
    cot_top_k_rows(tape, weight, experts, order);
    for (int64_t i = 0; i < rows * experts; i++)
        count += i % experts == 0 || cot_value_at(weight->data, weight->dtype, i / experts * experts + order[i]) > threshold;
    cot_routing_start(tape, rows, experts, 0, count, out);
    for (int64_t i = 0; i < rows * experts && !cot_tape_failed(tape); i++) {
        const double w = cot_value_at(weight->data, weight->dtype, i / experts * experts + order[i]);
        if (i % experts && !(w > threshold)) continue;
        out->token[a] = (int32_t)(i / experts);
        out->expert[a++] = order[i];
    }
    cot_tape_scratch_release(tape, mark);
    out->gate = cot_gate_pick(tape, weight, out->token, out->expert, out->assignments, 1);
}
