#include "ops/policy_loss.h"

#include <math.h>

#include "ops/values.h"

typedef struct {
    cot_tensor    *logits, *out;
    const int32_t *chosen;
    double        *advantage;  /* [T], times scale / T */
} policy_saved;

/* The largest logit of a row, and the sum of exp(h - it). */
static double row_sum(const cot_tensor *logits, int64_t t, double *largest)
{
    const int64_t experts = cot_tensor_columns(logits);
    double sum = 0;
    *largest = -INFINITY;
    for (int64_t e = 0; e < experts; e++) *largest = fmax(*largest, cot_value_at(logits->data, logits->dtype, t * experts + e));
    for (int64_t e = 0; e < experts; e++) sum += exp(cot_value_at(logits->data, logits->dtype, t * experts + e) - *largest);
    return sum;
}

/* dh = -advantage (1[e chosen] - p) */
static void policy_backward(cot_tape *tape, void *saved)
{
    const policy_saved *s = saved;
    const int64_t rows = cot_tensor_rows(s->logits), experts = cot_tensor_columns(s->logits);
    const double seed = cot_value_at(s->out->grad, s->out->dtype, 0);
    bool add = false;
    void *dh = cot_tape_grad(tape, s->logits, &add);
    for (int64_t t = 0; dh && t < rows; t++) {
        double largest;
        const double sum = row_sum(s->logits, t, &largest);
        for (int64_t e = 0; e < experts; e++) {
            const double p = exp(cot_value_at(s->logits->data, s->logits->dtype, t * experts + e) - largest) / sum;
            const double d = s->chosen[t] < 0 ? 0 : -seed * s->advantage[t] * ((e == s->chosen[t]) - p);
            cot_value_put(dh, s->logits->dtype, t * experts + e, d, add);
        }
    }
}

cot_tensor *cot_policy_loss(cot_tape *tape, cot_tensor *logits, const int32_t *chosen, const double *reward, double baseline,
                            double scale)
{
    const int64_t rows = cot_tensor_rows(logits), experts = cot_tensor_columns(logits);
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *out = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){1}, logits->needs_grad);
    policy_saved *s = cot_tape_alloc(tape, sizeof *s);
    double *advantage = cot_tape_alloc(tape, (size_t)rows * sizeof *advantage), total = 0;
    if (cot_tape_failed(tape)) return out;
    *s = (policy_saved){logits, out, chosen, advantage};
    for (int64_t t = 0; t < rows; t++) {
        double largest;
        const double sum = row_sum(logits, t, &largest);
        advantage[t] = scale / (double)rows * (reward[t] - baseline);
        if (chosen[t] < 0) continue;
        const double h = cot_value_at(logits->data, logits->dtype, t * experts + chosen[t]);
        total -= advantage[t] * (h - largest - log(sum));
    }
    cot_value_set(out->data, out->dtype, 0, total);
    cot_tape_record(tape, policy_backward, s, &out, 1);
    return out;
}
