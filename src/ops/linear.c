#include "ops/linear.h"

#include <string.h>

#include "kernels/elementwise/elementwise.h"
#include "ops/matmul.h"
#include "ops/pieces.h"

typedef struct {
    cot_tensor *x, *w, *bias, *residual, *y;
} linear_saved;

static cot_matmul shape_of(const linear_saved *s)
{
    return (cot_matmul){.rows = cot_tensor_rows(s->x), .in = s->w->shape[1], .out = s->w->shape[0], .groups = 1};
}

static void bias_backward(cot_tape *tape, const linear_saved *s)
{
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const int64_t rows = cot_tensor_rows(s->y), d = cot_tensor_columns(s->y), each = cot_sum_piece_rows(rows), pieces = cot_pieces(rows, each);
    const size_t row_bytes = (size_t)d * cot_dtype_size(s->bias->dtype), mark = cot_tape_scratch_mark(tape);
    bool accumulate = false;
    void *grad = cot_tape_grad(tape, s->bias, &accumulate);
    char *partial = grad ? cot_tape_scratch(tape, (size_t)pieces * row_bytes) : NULL;
    if (!partial) return;
    memset(partial, 0, (size_t)pieces * row_bytes);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->column_sum(p * each, cot_piece_end(p, each, rows), d, s->y->grad, true, partial + (size_t)p * row_bytes);
    if (!accumulate) memset(grad, 0, row_bytes);
    for (int64_t p = 0; p < pieces; p++) kernels->add(0, d, partial + (size_t)p * row_bytes, grad);
    cot_tape_scratch_release(tape, mark);
}

static void linear_backward(cot_tape *tape, void *saved_)
{
    linear_saved *s = saved_;
    const cot_matmul shape = shape_of(s);
    bool accumulate = false;
    void *dx = cot_tape_grad(tape, s->x, &accumulate);
    if (dx) cot_matmul_back_input(tape, &shape, s->y->grad, s->y->dtype, s->w, dx, s->x->dtype, accumulate);
    void *dw = cot_tape_grad(tape, s->w, &accumulate);
    if (dw) cot_matmul_back_weight(tape, &shape, s->y->grad, s->y->dtype, s->x->data, dw, accumulate);
    if (s->bias) bias_backward(tape, s);
    if (s->residual) cot_tape_grad_pass(tape, s->y, s->residual);
}

static bool shapes_fit(cot_tape *tape, const linear_saved *s)
{
    const bool fit = s->w->rank == 2 && cot_tensor_columns(s->x) == s->w->shape[1] && (!s->bias || cot_tensor_count(s->bias) == s->w->shape[0]) &&
                     (!s->residual || (cot_tensor_rows(s->residual) == cot_tensor_rows(s->x) && cot_tensor_columns(s->residual) == s->w->shape[0]));
    if (!fit && !cot_tape_failed(tape))
        cot_tape_fail(tape, cot_fail(COT_SHAPE_MISMATCH, "%s: a linear map of [%lld, %lld] does not fit rows of %lld", cot_tape_where(tape),
                                     (long long)s->w->shape[0], (long long)s->w->shape[1], (long long)cot_tensor_columns(s->x)));
    return fit && !cot_tape_failed(tape);
}

static cot_tensor *linear(cot_tape *tape, cot_tensor *x, cot_tensor *w, cot_tensor *bias, cot_tensor *residual, cot_dtype dtype)
{
    cot_tape_kind(tape, COT_TIME_PRODUCT);
    const bool needs_grad = x->needs_grad || w->needs_grad || (bias && bias->needs_grad) || (residual && residual->needs_grad);
    cot_tensor *y = cot_tape_matrix(tape, dtype, cot_tensor_rows(x), w->shape[0], needs_grad);
    linear_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (!s) return y;
    *s = (linear_saved){x, w, bias, residual, y};
    if (!shapes_fit(tape, s)) return y;
    if (residual) memcpy(y->data, residual->data, (size_t)cot_tensor_count(y) * cot_dtype_size(dtype));
    const cot_matmul shape = shape_of(s);
    cot_matmul_forward(tape, &shape, x->data, w, y->data, dtype, residual != NULL);
    if (bias) {
        const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
        kernels->add_bias(0, cot_tensor_rows(y), cot_tensor_columns(y), bias->data, y->data, true);
    }
    cot_tape_record(tape, linear_backward, s, &y, 1);
    return y;
}

cot_tensor *cot_linear(cot_tape *tape, cot_tensor *x, cot_tensor *w, cot_tensor *bias)
{
    return linear(tape, x, w, bias, NULL, cot_tape_act(tape));
}

cot_tensor *cot_linear_real(cot_tape *tape, cot_tensor *x, cot_tensor *w) { return linear(tape, x, w, NULL, NULL, cot_tape_real(tape)); }

cot_tensor *cot_linear_add(cot_tape *tape, cot_tensor *x, cot_tensor *w, cot_tensor *residual)
{
    return linear(tape, x, w, NULL, residual, cot_tape_real(tape));
}
