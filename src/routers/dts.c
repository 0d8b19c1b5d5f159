/* Dense-to-sparse gating: a softmax of logits plus Gumbel noise over a temperature that falls in training; what weighs no more
 * than `threshold` is left out, but for the largest. At first all experts work, in the end about one does.
 *
 * The temperature goes from `temperature` to `min_temperature` in decay_steps steps, by a constant factor, and is saved with
 * the model; evaluation uses the last one, without noise. In the router lab it is `temperature`, and "noise" are uniform
 * draws. Gates are the softmax as it is, so what is left sums to less than one.
 *
 * [nie2021evomoe], section 3.2; temperatures and threshold are not stated there in full */
#include <math.h>

#include "ops/cosine.h"
#include "ops/noise.h"
#include "ops/ragged_gate.h"
#include "ops/softmax.h"
#include "ops/top_k_rows.h"
#include "ops/values.h"
#include "routers/router.h"

typedef struct {
    cot_router_common common;
    double            temperature, min_temperature, threshold;
    int64_t           decay_steps;
    cot_param        *weight, *progress;  /* progress: [1] buffer, steps so far */
} dts;

static const cot_option options[] = {
    COT_OPTION_DOUBLE(dts, temperature, 2, 1e-6, 1e6, "temperature at the start"),
    COT_OPTION_DOUBLE(dts, min_temperature, 0.3, 1e-6, 1e6, "temperature after decay_steps"),
    COT_OPTION_INT(dts, decay_steps, 1000, 1, 1e12, "steps in which it falls"),
    COT_OPTION_DOUBLE(dts, threshold, 0.1, 0, 1, "experts that weigh no more are left out, but for the largest"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    dts *s = r->state;
    r->choices = (double)r->num_experts;
    COT_TRY(cot_router_add_weight(r, build, "weight", false, &s->weight));
    if (!build->params) return COT_OK;
    COT_TRY(cot_build_vector(build, "progress", 1, COT_INIT_ZERO, &s->progress));
    s->progress->spec.update = COT_UPDATE_BUFFER;
    return COT_OK;
}

static void end_step(cot_router *r)
{
    const dts *s = r->state;
    const cot_tensor *value = &s->progress->value;
    cot_value_put(value->data, value->dtype, 0, 1, true);
    s->progress->version++;
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const dts *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
}

static double temperature_now(const dts *s)
{
    const double steps = s->progress ? cot_value_at(s->progress->value.data, s->progress->value.dtype, 0) : 0;
    const double share = fmin(1, steps / (double)s->decay_steps);
    return s->temperature * pow(s->min_temperature / s->temperature, share);
}

/* logits + Gumbel draws. */
static cot_tensor *add_gumbel(const cot_router *r, cot_tape *tape, const cot_route_input *in, cot_tensor *logits)
{
    const cot_dtype real = logits->dtype;
    const int64_t count = cot_tensor_count(logits);
    const cot_rng_key key = cot_tape_rng(tape, COT_RNG_GATE_NOISE + (uint32_t)r->build.layer);
    void *gumbel = cot_tape_alloc(tape, (size_t)count * cot_dtype_size(real));
    cot_tensor *one = cot_tape_tensor(tape, real, logits->rank, logits->shape, false);
    if (cot_tape_failed(tape)) return logits;
    for (int64_t i = 0; i < count; i++) {
        const double u = in->noise ? fmax(cot_value_at(in->noise, real, i), 1e-300) : cot_rng_uniform(key, (uint64_t)i);
        cot_value_set(gumbel, real, i, -log(-log(u)));
        cot_value_set(one->data, real, i, 1);
    }
    return cot_add_noise(tape, logits, one, gumbel);
}

static cot_tensor *over(cot_tape *tape, cot_tensor *x, double temperature)
{
    cot_tensor *zero = cot_gate_constant(tape, 1, 0);
    return cot_tape_failed(tape) ? x : cot_over_temperature(tape, x, zero, temperature, 0);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    const dts *s = r->state;
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    cot_router_check_finite(tape, logits);
    if (cot_tape_failed(tape)) return;
    cot_tensor *noisy = cot_tape_training(tape) ? add_gumbel(r, tape, in, logits) : logits;
    cot_tensor *weight = cot_softmax(tape, over(tape, noisy, temperature_now(s)));
    cot_router_above(r, tape, weight, s->threshold, out);
    out->logits = out->clean_logits = logits;
    out->probs = cot_softmax(tape, logits);
}

const cot_router_ops cot_router_dts = {
    .member = {"dts", "nie2021evomoe", "dense at first, sparse in the end, by temperature", options},
    .traits = COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT | COT_ROUTER_SCORES,
    .lab_input = "\"noise\" (T x E, uniform draws), with \"training\"",
    .state_size = sizeof(dts),
    .setup = setup,
    .end_step = end_step,
    .score = score,
    .select = select,
};
