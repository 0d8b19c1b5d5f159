#include "ops/jitter.h"

#include "ops/pieces.h"
#include "ops/values.h"

typedef struct {
    cot_tensor *x, *y;
    double      eps;
    cot_rng_key key;
} jitter_saved;

/* to (+)= from * u; backward draws the same u again. */
static void multiply(const jitter_saved *s, cot_dtype dtype, const void *from, void *to, bool accumulate)
{
    enum { PIECE = 4096 };  /* a multiple of the four draws in a block */
    const int64_t count = cot_tensor_count(s->x), pieces = cot_pieces(count, PIECE);
    const double slope = s->eps * 0x1p-31, start = 1 - s->eps + 0.5 * slope;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        uint32_t bits[4] = {0};
        for (int64_t i = p * PIECE; i < cot_piece_end(p, PIECE, count); i++) {
            if (i % 4 == 0) cot_rng_bits(s->key, (uint64_t)i / 4, bits);
            cot_value_put(to, dtype, i, cot_value_at(from, dtype, i) * (start + slope * (double)bits[i % 4]), accumulate);
        }
    }
}

static void jitter_backward(cot_tape *tape, void *saved_)
{
    const jitter_saved *s = saved_;
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    if (dx) multiply(s, s->x->dtype, s->y->grad, dx, add);
}

cot_tensor *cot_jitter(cot_tape *tape, cot_tensor *x, double eps, uint32_t stream)
{
    if (!cot_tape_training(tape) || eps == 0) return x;
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *y = cot_tape_tensor(tape, x->dtype, x->rank, x->shape, x->needs_grad);
    jitter_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (jitter_saved){x, y, eps, cot_tape_rng(tape, stream)};
    multiply(s, x->dtype, x->data, y->data, false);
    cot_tape_record(tape, jitter_backward, s, &y, 1);
    return y;
}
