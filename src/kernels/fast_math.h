/* exp and exp2 in single precision without branches, so that a compiler vectorises the loop around them. */
#ifndef COT_KERNELS_FAST_MATH_H
#define COT_KERNELS_FAST_MATH_H

#include <stdint.h>
#include <string.h>

/* e^x within 2 ulp for x in [-87, 88]; below it gives about 1e-38, above about 2e38; NaN stays NaN.
 * x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its Taylor polynomial of degree 7; 2^n through the exponent bits. */
static inline float cot_fast_expf(float x)
{
    const float low = x < -87.0f ? -87.0f : x;
    const float clipped = low > 88.0f ? 88.0f : low;
    const float shifted = clipped * 1.44269504f + 12582912.0f;  /* rounds to an integer in the low mantissa bits */
    const float n = shifted - 12582912.0f;
    const float r = (clipped - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9841270e-4f;
    p = p * r + 1.3888889e-3f;
    p = p * r + 8.3333333e-3f;
    p = p * r + 4.1666667e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const int32_t scale_bits = (int32_t)((uint32_t)(bits + 127) << 23);
    float scale;
    memcpy(&scale, &scale_bits, sizeof scale);
    return p * scale;
}

/* 2^x within 3 ulp for x in [-126, 127]; exactly 0 below -126.5; NaN stays NaN. Meant for x <= 0, as in a softmax.
 * x = n + r, |r| <= 1/2; 2^r by a minimax polynomial of degree 5 that is exact at 0; 2^n through the exponent bits. */
static inline float cot_fast_exp2f(float x)
{
    const float low = x < -127.0f ? -127.0f : x;
    const float shifted = low + 12582912.0f;
    const float r = low - (shifted - 12582912.0f);
    float p = 1.3264729e-3f;
    p = p * r + 9.6715126e-3f;
    p = p * r + 5.5507337e-2f;
    p = p * r + 2.4022242e-1f;
    p = p * r + 6.9314698e-1f;
    p = p * r + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const int32_t scale_bits = (int32_t)((uint32_t)(bits + 127) << 23);
    float scale;
    memcpy(&scale, &scale_bits, sizeof scale);
    return p * scale;
}

#endif
