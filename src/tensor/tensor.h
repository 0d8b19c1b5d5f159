/* A tensor: element type, up to four dimensions, dense row-major data that it borrows (from a tape's arena, a parameter
 * list or a caller) and, on a tape, its gradient. */
#ifndef COT_TENSOR_TENSOR_H
#define COT_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/dtype.h"

enum { COT_MAX_RANK = 4 };

struct cot_param;

typedef struct cot_tensor {
    cot_dtype dtype;
    int32_t   rank;
    int64_t   shape[COT_MAX_RANK];  /* unused places hold 1 */
    void     *data;
    void     *grad;        /* same shape and dtype as data (a parameter's is real); NULL until something flows in */
    bool      needs_grad;  /* does anything that wants a gradient stand behind it? */
    struct cot_param *param;  /* the parameter that it is a view of, or NULL */
} cot_tensor;

static inline int64_t cot_tensor_count(const cot_tensor *t)
{
    return t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
}
static inline int64_t cot_tensor_columns(const cot_tensor *t) { return t->shape[t->rank > 0 ? t->rank - 1 : 0]; }
static inline int64_t cot_tensor_rows(const cot_tensor *t)
{
    const int64_t columns = cot_tensor_columns(t);
    return columns ? cot_tensor_count(t) / columns : 0;
}

#endif
