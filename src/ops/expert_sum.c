#include "ops/expert_sum.h"

#include <string.h>

#include "ops/values.h"

typedef struct {
    cot_tensor    *gate, *sum;
    const int32_t *expert;
} sum_saved;

static void sum_backward(cot_tape *tape, void *saved_)
{
    const sum_saved *s = saved_;
    const cot_dtype real = s->gate->dtype;
    bool add = false;
    void *dgate = cot_tape_grad(tape, s->gate, &add);
    if (!dgate) return;
    for (int64_t a = 0; a < cot_tensor_count(s->gate); a++)
        cot_value_put(dgate, real, a, cot_value_at(s->sum->grad, real, s->expert[a]), add);
}

cot_tensor *cot_expert_sum(cot_tape *tape, cot_tensor *gate, const int32_t *expert, int64_t experts)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const cot_dtype real = cot_tape_real(tape);
    const size_t mark = cot_tape_scratch_mark(tape), bytes = (size_t)experts * sizeof(double);
    cot_tensor *sum = cot_tape_tensor(tape, real, 1, (const int64_t[]){experts}, gate->needs_grad);
    sum_saved *s = cot_tape_alloc(tape, sizeof *s);
    double *total = cot_tape_scratch(tape, bytes);
    if (cot_tape_failed(tape)) return sum;
    *s = (sum_saved){gate, sum, expert};
    memset(total, 0, bytes);
    for (int64_t a = 0; a < cot_tensor_count(gate); a++) total[expert[a]] += cot_value_at(gate->data, real, a);
    for (int64_t i = 0; i < experts; i++) cot_value_set(sum->data, real, i, total[i]);
    cot_tape_scratch_release(tape, mark);
    cot_tape_record(tape, sum_backward, s, &sum, 1);
    return sum;
}
