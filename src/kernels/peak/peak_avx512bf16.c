#define PEAK_BYTES 64
#include <immintrin.h>

#include "kernels/peak/peak_body.h"

static double peak_bf16(int64_t rounds)
{
    const __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f003f00); /* pairs of 0.5 */
#define START(i) __m512 sum##i = _mm512_setzero_ps();
#define STEP(i) sum##i = _mm512_dpbf16_ps(sum##i, x, x);
#define KEEP(i) PEAK_KEEP(sum##i);
    PEAK_CHAINS(START)
    for (int64_t r = 0; r < rounds; r++) {
        PEAK_CHAINS(STEP)
        PEAK_CHAINS(KEEP)
    }
#undef START
#undef STEP
#undef KEEP
    return 2.0 * 2 * LANES * CHAINS * (double)rounds;
}

const cot_peak_kernels cot_peak_avx512bf16 = {peak_f32, peak_bf16, peak_read, peak_gather};
