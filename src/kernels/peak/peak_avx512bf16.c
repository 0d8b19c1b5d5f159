#include <immintrin.h>

#define VECTOR __m512
#define ZEROS _mm512_setzero_ps()
#define FACTOR __m512bh
#define FACTORS (__m512bh) _mm512_set1_epi16(0x3f00) /* 0.5 */
#define STEP(sum, x) _mm512_dpbf16_ps(sum, x, x)
#define LANES 64
#include "kernels/peak/peak_body.h"

extern const cot_peak_kernels cot_peak_avx512, cot_peak_avx512bf16;

static int64_t f32(int64_t rounds) { return cot_peak_avx512.f32(rounds); }
static int64_t bf16(int64_t rounds) { PEAK_LOOP(rounds) }

const cot_peak_kernels cot_peak_avx512bf16 = {f32, bf16};
