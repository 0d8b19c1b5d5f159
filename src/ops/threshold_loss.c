#include "ops/threshold_loss.h"

#include "ops/values.h"

typedef struct {
    cot_tensor *threshold, *out;
    double     *slope;  /* [E] */
} threshold_saved;

static void threshold_backward(cot_tape *tape, void *saved)
{
    const threshold_saved *s = saved;
    const double seed = cot_value_at(s->out->grad, s->out->dtype, 0);
    bool add = false;
    void *grad = cot_tape_grad(tape, s->threshold, &add);
    for (int64_t e = 0; grad && e < cot_tensor_count(s->threshold); e++)
        cot_value_put(grad, s->threshold->dtype, e, seed * s->slope[e], add);
}

cot_tensor *cot_threshold_loss(cot_tape *tape, const cot_tensor *probs, cot_tensor *threshold, const int32_t *place,
                               double scale)
{
    const int64_t tokens = cot_tensor_rows(probs), experts = cot_tensor_columns(probs);
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *out = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){1}, threshold->needs_grad);
    threshold_saved *s = cot_tape_alloc(tape, sizeof *s);
    double *slope = cot_tape_alloc(tape, (size_t)experts * sizeof *slope), sum = 0;
    if (cot_tape_failed(tape)) return out;
    *s = (threshold_saved){threshold, out, slope};
    for (int64_t e = 0; e < experts; e++) slope[e] = 0;
    for (int64_t i = 0; i < tokens * experts; i++) {
        const double limit = cot_value_at(threshold->data, threshold->dtype, i % experts) + 1.0 / (double)experts;
        const double p = cot_value_at(probs->data, probs->dtype, i);
        const int differs = (p > limit) - (place[i] >= 0);
        sum += differs * (p - limit);
        slope[i % experts] -= scale * differs;
    }
    cot_value_set(out->data, out->dtype, 0, scale * sum);
    cot_tape_record(tape, threshold_backward, s, &out, 1);
    return out;
}
