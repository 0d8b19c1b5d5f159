/* DSelect-k: top_k selectors, each of which codes its expert in binary by smooth steps of its logits; a softmax mixes them.
 * Differentiable everywhere, dense while digits lie inside their steps, sparse once they saturate: an expert takes part where
 * its weight is not exactly 0. entropy_coef adds the selectors' entropies, which pushes each to one expert.
 *
 * Logits of a token: m = ceil(log2 E) digits of each selector, then top_k for the mixture; so columns are no experts' and
 * none can be masked. Where E is no power of two, codes from E on count for their remainder.
 *
 * [hazimeh2021dselect], section 3; per-example gating */
#include <math.h>

#include "base/fail.h"
#include "ops/binary_codes.h"
#include "ops/gather_rows.h"
#include "ops/probability_losses.h"
#include "ops/row_maps.h"
#include "ops/softmax.h"
#include "routers/router.h"

typedef struct {
    cot_router_common common;
    int64_t           top_k, digits;
    double            gamma, entropy_coef;
    cot_param        *weight;
} dselect;

static const cot_option options[] = {
    COT_OPTION_INT(dselect, top_k, 2, 1, 64, "selectors"),
    COT_OPTION_DOUBLE(dselect, gamma, 1, 1e-6, 1e6, "width of the smooth step"),
    COT_OPTION_DOUBLE(dselect, entropy_coef, 0, 0, 1e6, "weight of the selectors' entropies as a loss"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    dselect *s = r->state;
    while ((int64_t)1 << s->digits < r->num_experts) s->digits++;
    r->columns = s->top_k * (s->digits + 1);
    r->choices = (double)s->top_k;
    return build->params ? cot_build_weight(build, "weight", 0, r->columns, build->hidden_size, &s->weight) : COT_OK;
}

/* The most experts whose codes fit. */
static int64_t experts_of(const cot_config *spec, int64_t columns)
{
    int64_t k = (int64_t)options[0].number;
    const cot_config *given = cot_config_get(spec, "top_k");
    if ((given && cot_config_int(given, &k) != COT_OK) || k < 1 || columns % k || columns / k > 20) return 0;
    return (int64_t)1 << (columns / k - 1);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const dselect *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
}

static cot_tensor *columns(cot_tape *tape, cot_tensor *x, int64_t from, int64_t count)
{
    const int64_t rows = cot_tensor_rows(x);
    int32_t *all = cot_tape_alloc(tape, (size_t)rows * sizeof *all);
    for (int64_t t = 0; all && t < rows; t++) all[t] = (int32_t)t;
    return all ? cot_gather_rows(tape, x, all, rows, from, count) : x;
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    (void)in;
    const dselect *s = r->state;
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    const int64_t tokens = logits->shape[0], k = s->top_k, digits[] = {tokens * k, s->digits};
    cot_router_check_finite(tape, logits);
    if (cot_tape_failed(tape)) return;
    cot_tensor *mix = cot_softmax(tape, columns(tape, logits, k * s->digits, k));
    cot_tensor *z = cot_reshape(tape, columns(tape, logits, 0, k * s->digits), 2, digits);
    cot_tensor *choice = cot_binary_codes(tape, z, r->num_experts, s->gamma);
    cot_tensor *weight = cot_mix_rows(tape, mix, choice);
    cot_router_above(r, tape, weight, 0, out);
    out->shares = weight;
    if (s->entropy_coef > 0) out->own_loss = cot_mean_entropy(tape, choice, s->entropy_coef * (double)k);
}

const cot_router_ops cot_router_dselect_k = {
    .member = {"dselect_k", "hazimeh2021dselect", "selectors that code experts in smooth binary digits", options},
    .traits = COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_UNIT_GATES | COT_ROUTER_NO_EXPERT_LOGITS,
    .lab_input = "\"logits\" are T x (top_k * (digits + 1)) for 2 ^ digits experts: digits of each selector, then their weights",
    .state_size = sizeof(dselect),
    .setup = setup,
    .experts_of = experts_of,
    .score = score,
    .select = select,
};
