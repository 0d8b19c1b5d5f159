#include "ops/cv_squared.h"

#include "ops/values.h"

static const double epsilon = 1e-10;

typedef struct {
    cot_tensor *v, *out;
    double      scale, mean, variance;
} cv_saved;

static void moments(const cot_tensor *v, double *mean, double *variance)
{
    const int64_t n = cot_tensor_count(v);
    *mean = *variance = 0;
    for (int64_t i = 0; i < n; i++) *mean += cot_value_at(v->data, v->dtype, i) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double d = cot_value_at(v->data, v->dtype, i) - *mean;
        *variance += d * d / (double)n;
    }
}

/* d/dv_i = (2 / n) ((v_i - mu) / (mu^2 + eps) - V mu / (mu^2 + eps)^2) */
static void cv_backward(cot_tape *tape, void *saved_)
{
    const cv_saved *s = saved_;
    const int64_t n = cot_tensor_count(s->v);
    bool add = false;
    void *dv = cot_tape_grad(tape, s->v, &add);
    if (!dv) return;
    const double below = s->mean * s->mean + epsilon;
    const double factor = s->scale * cot_value_at(s->out->grad, s->out->dtype, 0) * 2 / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double away = cot_value_at(s->v->data, s->v->dtype, i) - s->mean;
        const double slope = s->mean == 0 ? 0 : away / below - s->variance * s->mean / (below * below);
        cot_value_put(dv, s->v->dtype, i, factor * slope, add);
    }
}

cot_tensor *cot_cv_squared(cot_tape *tape, cot_tensor *v, double scale)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *out = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){1}, v->needs_grad);
    cv_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return out;
    *s = (cv_saved){.v = v, .out = out, .scale = scale};
    moments(v, &s->mean, &s->variance);
    cot_value_set(out->data, out->dtype, 0, s->mean == 0 ? 0 : scale * s->variance / (s->mean * s->mean + epsilon));
    cot_tape_record(tape, cv_backward, s, &out, 1);
    return out;
}
