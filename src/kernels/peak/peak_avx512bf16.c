#define PEAK_BYTES 64
#define PEAK_SUMS 24
#define PEAK_WIDE_REGISTERS
#include <immintrin.h>

#include "kernels/peak/peak_body.h"

static double peak_bf16(int64_t rounds)
{
    __m512 sum[PEAK_SUMS];
    volatile int start = 0x34003400;
    const __m512bh x = (__m512bh)_mm512_set1_epi32(start), y = (__m512bh)_mm512_set1_epi32(start);
    for (int i = 0; i < PEAK_SUMS; i++) sum[i] = _mm512_setzero_ps();
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 32
        for (int i = 0; i < PEAK_SUMS; i++) {
            sum[i] = _mm512_dpbf16_ps(sum[i], x, y);
            PEAK_KEEP(sum[i]);
        }
    }
    float total = 0;
    for (int i = 0; i < PEAK_SUMS; i++) total += _mm512_reduce_add_ps(sum[i]);
    volatile float keep = total;
    (void)keep;
    return 2.0 * 2 * LANES * PEAK_SUMS * (double)rounds;
}

const cot_peak_kernels cot_peak_avx512bf16 = {peak_f32, peak_bf16, peak_read, peak_gather};
