#include "ops/gather_rows.h"

#include <string.h>

#include "ops/values.h"

typedef struct {
    cot_tensor    *x, *y;
    const int32_t *rows;
    int64_t        from;
} gather_saved;

static void gather_backward(cot_tape *tape, void *saved)
{
    const gather_saved *s = saved;
    const int64_t width = cot_tensor_columns(s->x), columns = cot_tensor_columns(s->y), rows = cot_tensor_rows(s->y);
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    if (!dx) return;
    if (!add) memset(dx, 0, (size_t)cot_tensor_count(s->x) * cot_dtype_size(s->x->dtype));
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < columns; c++) {
            const double d = cot_value_at(s->y->grad, s->y->dtype, i * columns + c);
            cot_value_put(dx, s->x->dtype, s->rows[i] * width + s->from + c, d, true);
        }
}

cot_tensor *cot_gather_rows(cot_tape *tape, cot_tensor *x, const int32_t *rows, int64_t count, int64_t from,
                            int64_t columns)
{
    const size_t size = cot_dtype_size(x->dtype), width = (size_t)cot_tensor_columns(x);
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *y = cot_tape_matrix(tape, x->dtype, count, columns, x->needs_grad);
    gather_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (gather_saved){x, y, rows, from};
    for (int64_t i = 0; i < count; i++)
        memcpy((char *)y->data + (size_t)(i * columns) * size,
               (const char *)x->data + ((size_t)rows[i] * width + (size_t)from) * size, (size_t)columns * size);
    cot_tape_record(tape, gather_backward, s, &y, 1);
    return y;
}
