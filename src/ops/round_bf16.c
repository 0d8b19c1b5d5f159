#include "ops/round_bf16.h"

#include "ops/pieces.h"
#include "ops/values.h"

typedef struct {
    cot_tensor *x, *y;
} round_saved;

static void round_backward(cot_tape *tape, void *saved_)
{
    const round_saved *s = saved_;
    cot_tape_grad_pass(tape, s->y, s->x);
}

cot_tensor *cot_round_bf16(cot_tape *tape, cot_tensor *x)
{
    if (x->dtype == COT_BF16) return x;
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *y = cot_tape_tensor(tape, x->dtype, x->rank, x->shape, x->needs_grad);
    round_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (round_saved){x, y};
    const int64_t count = cot_tensor_count(x), pieces = cot_pieces(count, COT_PIECE_ELEMENTS);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t i = p * COT_PIECE_ELEMENTS; i < cot_piece_end(p, COT_PIECE_ELEMENTS, count); i++) {
            const cot_bf16 rounded = cot_f32_to_bf16((float)cot_value_at(x->data, x->dtype, i));
            cot_value_set(y->data, x->dtype, i, (double)cot_bf16_to_f32(rounded));
        }
    cot_tape_record(tape, round_backward, s, &y, 1);
    return y;
}
