/* Element types. */
#ifndef COT_TENSOR_DTYPE_H
#define COT_TENSOR_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum { COT_F64, COT_F32, COT_BF16, COT_F16, COT_I64, COT_I32, COT_U8 } cot_dtype;

size_t      cot_dtype_size(cot_dtype dtype);
const char *cot_dtype_name(cot_dtype dtype);  /* "f64", "f32", "bf16" ... */

typedef uint16_t cot_bf16;

static inline float cot_bf16_to_f32(cot_bf16 b)
{
    const uint32_t bits = (uint32_t)b << 16;
    float          f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Round to nearest, ties to even; NaN stays NaN. */
static inline cot_bf16 cot_f32_to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (cot_bf16)((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16 | 0x40u) : rounded);
}

#endif
