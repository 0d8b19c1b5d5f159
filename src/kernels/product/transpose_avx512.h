/* A 16 x 16 square of 32-bit words transposed in registers: pairs of words, pairs of pairs, then quarters twice. */
#ifndef COT_KERNELS_PRODUCT_TRANSPOSE_AVX512_H
#define COT_KERNELS_PRODUCT_TRANSPOSE_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* Within each 128-bit lane: out[4 g + c] lane q = word 4 q + c of rows 4 g .. 4 g + 3. */
static inline void cot_transpose4(const uint32_t *from, size_t ld, __m512i out[4])
{
    const __m512i r0 = _mm512_loadu_si512(from), r1 = _mm512_loadu_si512(from + ld);
    const __m512i r2 = _mm512_loadu_si512(from + 2 * ld), r3 = _mm512_loadu_si512(from + 3 * ld);
    const __m512i a = _mm512_unpacklo_epi32(r0, r1), b = _mm512_unpackhi_epi32(r0, r1);
    const __m512i c = _mm512_unpacklo_epi32(r2, r3), d = _mm512_unpackhi_epi32(r2, r3);
    out[0] = _mm512_unpacklo_epi64(a, c);
    out[1] = _mm512_unpackhi_epi64(a, c);
    out[2] = _mm512_unpacklo_epi64(b, d);
    out[3] = _mm512_unpackhi_epi64(b, d);
}

static inline void cot_transpose16(const uint32_t *from, size_t from_ld, uint32_t *to, size_t to_ld)
{
    __m512i g0[4], g1[4], g2[4], g3[4];
    cot_transpose4(from, from_ld, g0);
    cot_transpose4(from + 4 * from_ld, from_ld, g1);
    cot_transpose4(from + 8 * from_ld, from_ld, g2);
    cot_transpose4(from + 12 * from_ld, from_ld, g3);
    for (int c = 0; c < 4; c++) {
        const __m512i low01 = _mm512_shuffle_i32x4(g0[c], g1[c], 0x88),
                      high01 = _mm512_shuffle_i32x4(g0[c], g1[c], 0xdd);
        const __m512i low23 = _mm512_shuffle_i32x4(g2[c], g3[c], 0x88),
                      high23 = _mm512_shuffle_i32x4(g2[c], g3[c], 0xdd);
        uint32_t *row = to + (size_t)c * to_ld;
        _mm512_storeu_si512(row, _mm512_shuffle_i32x4(low01, low23, 0x88));
        _mm512_storeu_si512(row + 4 * to_ld, _mm512_shuffle_i32x4(high01, high23, 0x88));
        _mm512_storeu_si512(row + 8 * to_ld, _mm512_shuffle_i32x4(low01, low23, 0xdd));
        _mm512_storeu_si512(row + 12 * to_ld, _mm512_shuffle_i32x4(high01, high23, 0xdd));
    }
}

#endif
