#include "ops/mask_logits.h"

#include <math.h>

#include "ops/values.h"

typedef struct {
    cot_tensor    *x, *y;
    const uint8_t *blocked;
} mask_saved;

static void mask_backward(cot_tape *tape, void *saved)
{
    const mask_saved *s = saved;
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    for (int64_t i = 0; dx && i < cot_tensor_count(s->x); i++)
        cot_value_put(dx, s->x->dtype, i, s->blocked[i] ? 0 : cot_value_at(s->y->grad, s->y->dtype, i), add);
}

cot_tensor *cot_mask_logits(cot_tape *tape, cot_tensor *x, const uint8_t *blocked)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *y = cot_tape_tensor(tape, cot_tape_real(tape), x->rank, x->shape, x->needs_grad);
    mask_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (mask_saved){x, y, blocked};
    for (int64_t i = 0; i < cot_tensor_count(x); i++)
        cot_value_set(y->data, y->dtype, i, blocked[i] ? -INFINITY : cot_value_at(x->data, x->dtype, i));
    cot_tape_record(tape, mask_backward, s, &y, 1);
    return y;
}
