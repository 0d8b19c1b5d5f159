/* f32 to bf16 by the processor's own rounding: to nearest even, denormals to zero. */
#ifndef COT_KERNELS_PRODUCT_NARROW_AVX512BF16_H
#define COT_KERNELS_PRODUCT_NARROW_AVX512BF16_H

#include <immintrin.h>
#include <stdint.h>

static inline void cot_narrow32(const float *from, uint16_t *to)
{
    _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(from)));
}

/* Sixteen words, the low half of each from `low`. */
static inline void cot_pair_rows(const float *low, const float *high, void *words)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(high), _mm512_loadu_ps(low));
    _mm512_storeu_si512(words, _mm512_permutexvar_epi16(order, halves));
}

#endif
