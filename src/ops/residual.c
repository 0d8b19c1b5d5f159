#include "ops/residual.h"

#include <string.h>

#include "kernels/elementwise/elementwise.h"
#include "ops/pieces.h"

typedef struct {
    cot_tensor *residual, *logit, *x, *y;
} add_saved;

static void add_backward(cot_tape *tape, void *saved_)
{
    const add_saved *s = saved_;
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const int64_t count = cot_tensor_count(s->y), pieces = cot_pieces(count, COT_PIECE_ELEMENTS);
    bool accumulate = false;
    void *dx = cot_tape_grad(tape, s->x, &accumulate);
    if (dx && accumulate) {
        cot_tape_fail(tape, cot_fail(COT_INVALID, "%s: a branch is added to the residual stream twice, expected once", cot_tape_where(tape)));
        return;
    }
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        if (dx) kernels->narrow(p * COT_PIECE_ELEMENTS, cot_piece_end(p, COT_PIECE_ELEMENTS, count), s->y->grad, dx);
    cot_tape_grad_pass(tape, s->y, s->residual);
}

cot_tensor *cot_add(cot_tape *tape, cot_tensor *residual, cot_tensor *x)
{
    const int64_t count = cot_tensor_count(residual), pieces = cot_pieces(count, COT_PIECE_ELEMENTS);
    cot_tape_kind(tape, COT_TIME_ELEMENTWISE);
    cot_tensor *y = cot_tape_tensor(tape, residual->dtype, residual->rank, residual->shape, residual->needs_grad || x->needs_grad);
    add_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (add_saved){.residual = residual, .x = x, .y = y};
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
    memcpy(y->data, residual->data, (size_t)count * cot_dtype_size(y->dtype));
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->widen(p * COT_PIECE_ELEMENTS, cot_piece_end(p, COT_PIECE_ELEMENTS, count), x->data, y->data, true);
    cot_tape_record(tape, add_backward, s, &y, 1);
    return y;
}

static void gated_add_backward(cot_tape *tape, void *saved_)
{
    const add_saved *s = saved_;
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const int64_t rows = cot_tensor_rows(s->y), pieces = cot_pieces(rows, COT_PIECE_ROWS);
    bool add_x = false, add_logit = false;
    void *dx = cot_tape_grad(tape, s->x, &add_x);
    void *dlogit = cot_tape_grad(tape, s->logit, &add_logit);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->gated_add_backward(p * COT_PIECE_ROWS, cot_piece_end(p, COT_PIECE_ROWS, rows), cot_tensor_columns(s->y), s->logit->data,
                                    s->x->data, s->y->grad, dx, add_x, dlogit, add_logit);
    cot_tape_grad_pass(tape, s->y, s->residual);
}

cot_tensor *cot_gated_add(cot_tape *tape, cot_tensor *residual, cot_tensor *logit, cot_tensor *x)
{
    const int64_t rows = cot_tensor_rows(residual), pieces = cot_pieces(rows, COT_PIECE_ROWS);
    cot_tape_kind(tape, COT_TIME_ELEMENTWISE);
    const bool needs_grad = residual->needs_grad || logit->needs_grad || x->needs_grad;
    cot_tensor *y = cot_tape_tensor(tape, residual->dtype, residual->rank, residual->shape, needs_grad);
    add_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (add_saved){residual, logit, x, y};
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->gated_add(p * COT_PIECE_ROWS, cot_piece_end(p, COT_PIECE_ROWS, rows), cot_tensor_columns(y), residual->data, logit->data,
                           x->data, y->data);
    cot_tape_record(tape, gated_add_backward, s, &y, 1);
    return y;
}
