#include "ops/gated_linear.h"

#include "kernels/swiglu/swiglu.h"
#include "ops/pieces.h"

typedef struct {
    cot_tensor *gu, *h;
} swiglu_saved;

static void swiglu_backward(cot_tape *tape, void *saved_)
{
    swiglu_saved *s = saved_;
    const cot_swiglu_kernels *kernels = cot_swiglu_kernels_for(cot_tape_mode(tape));
    const int64_t rows = cot_tensor_rows(s->h), width = cot_tensor_columns(s->h), pieces = cot_pieces(rows, COT_PIECE_ROWS);
    bool accumulate = false;  /* gu has one consumer: nothing to add to */
    void *dgu = cot_tape_grad(tape, s->gu, &accumulate);
    if (!dgu) return;
    if (accumulate) {
        cot_tape_fail(tape, cot_fail(COT_INVALID, "%s: the input of a gated unit is used twice, expected once", cot_tape_where(tape)));
        return;
    }
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->backward(p * COT_PIECE_ROWS, cot_piece_end(p, COT_PIECE_ROWS, rows), width, s->gu->data, s->h->grad, dgu);
}

cot_tensor *cot_swiglu(cot_tape *tape, cot_tensor *gu)
{
    const int64_t rows = cot_tensor_rows(gu), width = cot_tensor_columns(gu) / 2, pieces = cot_pieces(rows, COT_PIECE_ROWS);
    cot_tape_kind(tape, COT_TIME_ELEMENTWISE);
    cot_tensor *h = cot_tape_matrix(tape, gu->dtype, rows, width, gu->needs_grad);
    swiglu_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return h;
    *s = (swiglu_saved){gu, h};
    const cot_swiglu_kernels *kernels = cot_swiglu_kernels_for(cot_tape_mode(tape));
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) kernels->forward(p * COT_PIECE_ROWS, cot_piece_end(p, COT_PIECE_ROWS, rows), width, gu->data, h->data);
    cot_tape_record(tape, swiglu_backward, s, &h, 1);
    return h;
}
