#include "ops/matmul.h"

#include "ops/packed.h"
#include "ops/product.h"

/* W's stack as one matrix of G * out rows. */
static cot_pack_source weights(const cot_matmul *shape, const cot_tensor *w)
{
    return (cot_pack_source){.data = w->data, .ld = shape->in, .is_real = true};
}

void cot_matmul_forward(cot_tape *tape, const cot_matmul *shape, const void *x, cot_tensor *w, void *y,
                        cot_dtype y_dtype, bool accumulate)
{
    if (cot_tape_failed(tape)) return;
    const cot_product product = {.form = COT_PRODUCT_FORWARD,
                                 .shape = shape,
                                 .a = {.data = x, .ld = shape->in, .rows = shape->x_rows},
                                 .b = weights(shape, w),
                                 .packed = cot_packed_panels(tape, shape, w),
                                 .c = y,
                                 .c_dtype = y_dtype,
                                 .accumulate = accumulate};
    cot_product_run(tape, &product);
}

void cot_matmul_back_input(cot_tape *tape, const cot_matmul *shape, const void *dy, cot_dtype dy_dtype, cot_tensor *w,
                           void *dx, cot_dtype dx_dtype, bool accumulate)
{
    if (cot_tape_failed(tape)) return;
    const cot_product product = {
        .form = COT_PRODUCT_BACK_INPUT,
        .shape = shape,
        .a = {.data = dy, .ld = shape->out, .rows = shape->y_rows, .is_real = dy_dtype != COT_BF16},
        .b = weights(shape, w),
        .c = dx,
        .c_dtype = dx_dtype,
        .accumulate = accumulate};
    cot_product_run(tape, &product);
}

void cot_matmul_back_weight(cot_tape *tape, const cot_matmul *shape, const void *dy, cot_dtype dy_dtype, const void *x,
                            void *dw, bool accumulate)
{
    if (cot_tape_failed(tape)) return;
    const cot_product product = {
        .form = COT_PRODUCT_BACK_WEIGHT,
        .shape = shape,
        .a = {.data = dy, .ld = shape->out, .rows = shape->y_rows, .is_real = dy_dtype != COT_BF16},
        .b = {.data = x, .ld = shape->in, .rows = shape->x_rows},
        .c = dw,
        .c_dtype = cot_tape_real(tape),
        .accumulate = accumulate};
    cot_product_run(tape, &product);
}
