/* Conversion goes through a small block of f32, which holds every bf16 and f16 exactly. */
#include "formats/convert.h"

#include <assert.h>
#include <string.h>

enum { BLOCK = 512 };

float cot_f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = half >> 10 & 31u, mantissa = half & 0x3ffu;
    uint32_t bits;
    if (exponent == 0) {  /* zero or subnormal: a multiple of 2^-24 */
        const float value = (float)mantissa * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
    } else {
        bits = (exponent == 31 ? 255u : exponent + 112u) << 23 | mantissa << 13;
    }
    bits |= sign;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t cot_f32_to_f16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (bits >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);  /* 65520 and more round to infinity */
    if (bits < 0x38800000u) {  /* below 2^-14: adding 1/2 leaves the rounded multiple of 2^-24 in the low bits */
        float shifted;
        memcpy(&shifted, &bits, sizeof shifted);
        shifted += 0.5f;
        memcpy(&bits, &shifted, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    return (uint16_t)(sign | (bits - 0x38000000u + 0xfffu + (bits >> 13 & 1u)) >> 13);
}

/* One loop per type, over memory that need not be aligned: memcpy of a fixed size is a plain load or store. */
#define DEFINE_BLOCK(name, type, to_f32, from_f32)                               \
    static void load_##name(float *to, const unsigned char *from, size_t n)      \
    {                                                                            \
        for (size_t i = 0; i < n; i++) {                                         \
            type value;                                                          \
            memcpy(&value, from + i * sizeof value, sizeof value);               \
            to[i] = to_f32(value);                                               \
        }                                                                        \
    }                                                                            \
    static void store_##name(unsigned char *to, const float *from, size_t n)     \
    {                                                                            \
        for (size_t i = 0; i < n; i++) {                                         \
            const type value = from_f32(from[i]);                                \
            memcpy(to + i * sizeof value, &value, sizeof value);                 \
        }                                                                        \
    }

DEFINE_BLOCK(f64, double, (float), (double))
DEFINE_BLOCK(f32, float, (float), (float))
DEFINE_BLOCK(bf16, cot_bf16, cot_bf16_to_f32, cot_f32_to_bf16)
DEFINE_BLOCK(f16, uint16_t, cot_f16_to_f32, cot_f32_to_f16)

static void (*const load[])(float *, const unsigned char *, size_t) = {
    [COT_F64] = load_f64, [COT_F32] = load_f32, [COT_BF16] = load_bf16, [COT_F16] = load_f16};
static void (*const store[])(unsigned char *, const float *, size_t) = {
    [COT_F64] = store_f64, [COT_F32] = store_f32, [COT_BF16] = store_bf16, [COT_F16] = store_f16};

static bool is_real(cot_dtype type)
{
    return type == COT_F64 || type == COT_F32 || type == COT_BF16 || type == COT_F16;
}

bool cot_convertible(cot_dtype to, cot_dtype from) { return to == from || (is_real(to) && is_real(from)); }

void cot_convert(void *to, cot_dtype to_type, const void *from, cot_dtype from_type, size_t count)
{
    assert(cot_convertible(to_type, from_type));
    unsigned char       *target = to;
    const unsigned char *source = from;
    const size_t         to_size = cot_dtype_size(to_type), from_size = cot_dtype_size(from_type);
    if (to_type == from_type) {
        if (count > 0) memcpy(target, source, count * to_size);
        return;
    }
    float block[BLOCK];
    for (size_t done = 0; done < count; done += BLOCK) {
        const size_t n = count - done < BLOCK ? count - done : BLOCK;
        load[from_type](block, source + done * from_size, n);
        store[to_type](target + done * to_size, block, n);
    }
}
