#include "ops/ragged_gate.h"

#include <math.h>
#include <string.h>

#include "ops/values.h"

typedef struct {
    cot_tensor    *scores, *other, *gate;
    const int32_t *token, *expert, *slot;
    int64_t        count, columns;
    double         scale, epsilon;
} ragged;

static cot_tensor *begin(cot_tape *tape, cot_tensor *scores, int64_t count, bool needs_grad, ragged **out)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *gate = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){count}, needs_grad);
    *out = cot_tape_alloc(tape, sizeof **out);
    if (*out) **out = (ragged){.scores = scores, .gate = gate, .count = count, .columns = cot_tensor_columns(scores)};
    return gate;
}

static double value(const cot_tensor *t, int64_t i) { return cot_value_at(t->data, t->dtype, i); }
static double slope(const ragged *s, int64_t i) { return cot_value_at(s->gate->grad, s->gate->dtype, i); }
static int64_t place(const ragged *s, int64_t a) { return s->token[a] * s->columns + s->expert[a]; }

/* Where the run of assignments of a's token ends. */
static int64_t run_end(const ragged *s, int64_t a)
{
    int64_t end = a + 1;
    while (end < s->count && s->token[end] == s->token[a]) end++;
    return end;
}

/* The gradient of the scores, zero where nothing flows: only picked places are written. */
static void *cleared_grad(cot_tape *tape, cot_tensor *t)
{
    bool add = false;
    void *grad = cot_tape_grad(tape, t, &add);
    if (grad && !add) memset(grad, 0, (size_t)cot_tensor_count(t) * cot_dtype_size(t->dtype));
    return grad;
}

/* ---- scores as they are ---- */

static void pick_backward(cot_tape *tape, void *saved)
{
    const ragged *s = saved;
    void *grad = cleared_grad(tape, s->scores);
    for (int64_t a = 0; grad && a < s->count; a++)
        cot_value_put(grad, s->scores->dtype, place(s, a), s->scale * slope(s, a), true);
}

cot_tensor *cot_gate_pick(cot_tape *tape, cot_tensor *scores, const int32_t *token, const int32_t *expert, int64_t count,
                          double scale)
{
    ragged *s;
    cot_tensor *gate = begin(tape, scores, count, scores->needs_grad, &s);
    if (cot_tape_failed(tape)) return gate;
    s->token = token, s->expert = expert, s->scale = scale;
    for (int64_t a = 0; a < count; a++)
        cot_value_set(gate->data, gate->dtype, a, scale * value(scores, place(s, a)));
    cot_tape_record(tape, pick_backward, s, &gate, 1);
    return gate;
}

/* ---- softmax over the picked ---- */

/* dh = w (dw - sum of w dw) */
static void softmax_backward(cot_tape *tape, void *saved)
{
    const ragged *s = saved;
    void *grad = cleared_grad(tape, s->scores);
    for (int64_t a = 0, end; grad && a < s->count; a = end) {
        double mean = 0;
        end = run_end(s, a);
        for (int64_t i = a; i < end; i++) mean += value(s->gate, i) * slope(s, i);
        for (int64_t i = a; i < end; i++)
            cot_value_put(grad, s->scores->dtype, place(s, i), value(s->gate, i) * (slope(s, i) - mean), true);
    }
}

static void softmax_run(const ragged *s, int64_t a, int64_t end)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t i = a; i < end; i++) largest = fmax(largest, value(s->scores, place(s, i)));
    const double shift = largest > -INFINITY ? largest : 0;
    for (int64_t i = a; i < end; i++) sum += exp(value(s->scores, place(s, i)) - shift);
    for (int64_t i = a; i < end; i++) {
        const double w = exp(value(s->scores, place(s, i)) - shift);
        cot_value_set(s->gate->data, s->gate->dtype, i, sum > 0 ? w / sum : 0);
    }
}

cot_tensor *cot_gate_pick_softmax(cot_tape *tape, cot_tensor *logits, const int32_t *token, const int32_t *expert,
                                  int64_t count)
{
    ragged *s;
    cot_tensor *gate = begin(tape, logits, count, logits->needs_grad, &s);
    if (cot_tape_failed(tape)) return gate;
    s->token = token, s->expert = expert;
    for (int64_t a = 0, end; a < count; a = end) softmax_run(s, a, end = run_end(s, a));
    cot_tape_record(tape, softmax_backward, s, &gate, 1);
    return gate;
}

/* ---- divided by their sum ---- */

static bool counts(const ragged *s, int64_t i) { return !s->slot || s->slot[i] >= 0; }

static double run_sum(const ragged *s, int64_t a, int64_t end)
{
    double sum = 0;
    for (int64_t i = a; i < end; i++) sum += counts(s, i) ? value(s->scores, i) : 0;
    return sum;
}

/* out = c g / (S + eps): dg = (c dout - sum of dout out) / (S + eps) */
static void normalise_backward(cot_tape *tape, void *saved)
{
    const ragged *s = saved;
    bool add = false;
    void *grad = cot_tape_grad(tape, s->scores, &add);
    for (int64_t a = 0, end; grad && a < s->count; a = end) {
        end = run_end(s, a);
        const double sum = run_sum(s, a, end), below = sum + s->epsilon;
        double flow = 0;
        for (int64_t i = a; i < end; i++) flow += slope(s, i) * value(s->gate, i);
        for (int64_t i = a; i < end; i++) {
            const double d = counts(s, i) && sum != 0 ? (s->scale * slope(s, i) - flow) / below : 0;
            cot_value_put(grad, s->scores->dtype, i, d, add);
        }
    }
}

cot_tensor *cot_gate_normalise(cot_tape *tape, cot_tensor *gate, const int32_t *token, const int32_t *slot, double scale,
                               double epsilon)
{
    ragged *s;
    cot_tensor *out = begin(tape, gate, cot_tensor_count(gate), gate->needs_grad, &s);
    if (cot_tape_failed(tape)) return out;
    s->token = token, s->slot = slot, s->scale = scale, s->epsilon = epsilon;
    for (int64_t a = 0, end; a < s->count; a = end) {
        end = run_end(s, a);
        const double sum = run_sum(s, a, end);
        for (int64_t i = a; i < end; i++) {
            const double v = counts(s, i) && sum != 0 ? scale * value(gate, i) / (sum + epsilon) : 0;
            cot_value_set(out->data, out->dtype, i, v);
        }
    }
    cot_tape_record(tape, normalise_backward, s, &out, 1);
    return out;
}

/* ---- products ---- */

static void times_backward(cot_tape *tape, void *saved)
{
    const ragged *s = saved;
    for (int side = 0; side < 2; side++) {
        cot_tensor *to = side ? s->other : s->scores;
        const cot_tensor *factor = side ? s->scores : s->other;
        bool add = false;
        void *grad = cot_tape_grad(tape, to, &add);
        for (int64_t a = 0; grad && a < s->count; a++)
            cot_value_put(grad, to->dtype, a, slope(s, a) * value(factor, a), add);
    }
}

cot_tensor *cot_gate_times(cot_tape *tape, cot_tensor *a, cot_tensor *b)
{
    ragged *s;
    cot_tensor *out = begin(tape, a, cot_tensor_count(a), a->needs_grad || b->needs_grad, &s);
    if (cot_tape_failed(tape)) return out;
    s->other = b;
    for (int64_t i = 0; i < s->count; i++) cot_value_set(out->data, out->dtype, i, value(a, i) * value(b, i));
    cot_tape_record(tape, times_backward, s, &out, 1);
    return out;
}

cot_tensor *cot_gate_constant(cot_tape *tape, int64_t count, double value_)
{
    cot_tensor *gate = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){count}, false);
    for (int64_t a = 0; a < count && !cot_tape_failed(tape); a++) cot_value_set(gate->data, gate->dtype, a, value_);
    return gate;
}
