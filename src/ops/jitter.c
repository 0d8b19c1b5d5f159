#include "ops/jitter.h"

#include "kernels/gating/gating.h"
#include "ops/pieces.h"

typedef struct {
    cot_tensor *x, *y;
    double      eps;
    cot_rng_key key;
} jitter_saved;

/* to (+)= from * u; backward draws the same u again. */
static void multiply(cot_tape *tape, const jitter_saved *s, const void *from, void *to, bool accumulate)
{
    const cot_gating_kernels *kernels = cot_gating_kernels_for(cot_tape_mode(tape));
    const int64_t count = cot_tensor_count(s->x), pieces = cot_pieces(count, COT_PIECE_ELEMENTS);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->jitter(p * COT_PIECE_ELEMENTS, cot_piece_end(p, COT_PIECE_ELEMENTS, count), s->eps, s->key, from, to,
                        accumulate);
}

static void jitter_backward(cot_tape *tape, void *saved_)
{
    const jitter_saved *s = saved_;
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    if (dx) multiply(tape, s, s->y->grad, dx, add);
}

cot_tensor *cot_jitter(cot_tape *tape, cot_tensor *x, double eps, uint32_t stream)
{
    if (!cot_tape_training(tape) || eps == 0) return x;
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *y = cot_tape_tensor(tape, x->dtype, x->rank, x->shape, x->needs_grad);
    jitter_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (jitter_saved){x, y, eps, cot_tape_rng(tape, stream)};
    multiply(tape, s, x->data, y->data, false);
    cot_tape_record(tape, jitter_backward, s, &y, 1);
    return y;
}
