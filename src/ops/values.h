/* Single elements of arrays whose type is known at run time, read and written through doubles: for work that is small
 * beside the products (one number for each token and expert, or fewer). */
#ifndef COT_OPS_VALUES_H
#define COT_OPS_VALUES_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/dtype.h"

/* data[index]; dtype is f64, f32 or bf16. */
static inline double cot_value_at(const void *data, cot_dtype dtype, int64_t index)
{
    if (dtype == COT_F64) return ((const double *)data)[index];
    if (dtype == COT_F32) return (double)((const float *)data)[index];
    return (double)cot_bf16_to_f32(((const cot_bf16 *)data)[index]);
}

/* data[index] = value, rounded once. */
static inline void cot_value_set(void *data, cot_dtype dtype, int64_t index, double value)
{
    if (dtype == COT_F64) ((double *)data)[index] = value;
    else if (dtype == COT_F32) ((float *)data)[index] = (float)value;
    else ((cot_bf16 *)data)[index] = cot_f32_to_bf16((float)value);
}

/* data[index] (+)= value. */
static inline void cot_value_put(void *data, cot_dtype dtype, int64_t index, double value, bool accumulate)
{
    cot_value_set(data, dtype, index, accumulate ? cot_value_at(data, dtype, index) + value : value);
}

#endif
