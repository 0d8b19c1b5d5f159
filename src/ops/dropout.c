#include "ops/dropout.h"

#include "kernels/elementwise/elementwise.h"
#include "ops/pieces.h"

typedef struct {
    cot_tensor *x, *y;
    double      rate;
    cot_rng_key key;
} dropout_saved;

static void apply(cot_tape *tape, const dropout_saved *s, const void *from, void *to, bool accumulate)
{
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const int64_t count = cot_tensor_count(s->x), pieces = cot_pieces(count, COT_PIECE_ELEMENTS);
    const bool is_act = s->x->dtype == cot_tape_act(tape);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->dropout(p * COT_PIECE_ELEMENTS, cot_piece_end(p, COT_PIECE_ELEMENTS, count), s->rate, s->key, from, to, is_act, accumulate);
}

static void dropout_backward(cot_tape *tape, void *saved_)
{
    const dropout_saved *s = saved_;
    bool accumulate = false;
    void *dx = cot_tape_grad(tape, s->x, &accumulate);
    if (dx) apply(tape, s, s->y->grad, dx, accumulate);
}

cot_tensor *cot_dropout(cot_tape *tape, cot_tensor *x, double rate, uint32_t stream)
{
    if (rate <= 0 || !cot_tape_training(tape)) return x;
    cot_tape_kind(tape, COT_TIME_ELEMENTWISE);
    cot_tensor *y = cot_tape_tensor(tape, x->dtype, x->rank, x->shape, x->needs_grad);
    dropout_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (dropout_saved){x, y, rate, cot_tape_rng(tape, stream)};
    apply(tape, s, x->data, y->data, false);
    cot_tape_record(tape, dropout_backward, s, &y, 1);
    return y;
}
