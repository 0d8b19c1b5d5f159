#include "ops/norm.h"

#include <string.h>

#include "kernels/elementwise/elementwise.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "ops/pieces.h"

typedef struct {
    cot_tensor *x, *w, *y;
    void       *rstd;  /* [T] real */
} norm_saved;

/* dw is summed over pieces of rows, each into its own row of `partial`, then over the pieces in order. */
static void norm_backward(cot_tape *tape, void *saved_)
{
    norm_saved *s = saved_;
    const cot_rmsnorm_kernels *kernels = cot_rmsnorm_kernels_for(cot_tape_mode(tape));
    const cot_elementwise_kernels *elementwise = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const int64_t d = cot_tensor_columns(s->x), rows = cot_tensor_rows(s->x), each = cot_sum_piece_rows(rows), pieces = cot_pieces(rows, each);
    const size_t row_bytes = (size_t)d * cot_dtype_size(s->x->dtype), mark = cot_tape_scratch_mark(tape);
    bool add_x = false, add_w = false;
    void *dx = cot_tape_grad(tape, s->x, &add_x);
    void *dw = cot_tape_grad(tape, s->w, &add_w);
    char *partial = dw ? cot_tape_scratch(tape, (size_t)pieces * row_bytes) : NULL;
    if (cot_tape_failed(tape)) return;
    if (partial) memset(partial, 0, (size_t)pieces * row_bytes);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->backward(p * each, cot_piece_end(p, each, rows), d, s->x->data, s->w->data, s->rstd, s->y->grad, dx, add_x,
                          partial ? partial + (size_t)p * row_bytes : NULL);
    if (dw && !add_w) memset(dw, 0, row_bytes);
    for (int64_t p = 0; partial && p < pieces; p++) elementwise->add(0, d, partial + (size_t)p * row_bytes, dw);
    cot_tape_scratch_release(tape, mark);
}

cot_tensor *cot_rmsnorm(cot_tape *tape, cot_tensor *x, cot_tensor *w, double eps)
{
    const int64_t d = cot_tensor_columns(x), rows = cot_tensor_rows(x);
    cot_tape_kind(tape, COT_TIME_ELEMENTWISE);
    cot_tensor *y = cot_tape_tensor(tape, cot_tape_act(tape), x->rank, x->shape, x->needs_grad || w->needs_grad);
    norm_saved *s = cot_tape_alloc(tape, sizeof *s);
    void *rstd = cot_tape_alloc(tape, (size_t)rows * cot_dtype_size(x->dtype));
    if (cot_tape_failed(tape)) return y;
    *s = (norm_saved){x, w, y, rstd};
    const cot_rmsnorm_kernels *kernels = cot_rmsnorm_kernels_for(cot_tape_mode(tape));
    const int64_t pieces = cot_pieces(rows, COT_PIECE_ROWS);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->forward(p * COT_PIECE_ROWS, cot_piece_end(p, COT_PIECE_ROWS, rows), d, x->data, w->data, eps, y->data, rstd);
    cot_tape_record(tape, norm_backward, s, &y, 1);
    return y;
}
