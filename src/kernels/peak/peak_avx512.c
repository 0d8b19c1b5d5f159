#include <immintrin.h>

#define VECTOR __m512
#define ZEROS _mm512_setzero_ps()
#define FACTOR __m512
#define FACTORS _mm512_set1_ps(0.5f)
#define STEP(sum, x) _mm512_fmadd_ps(sum, x, x)
#define LANES 32
#include "kernels/peak/peak_body.h"

extern const cot_peak_kernels cot_peak_avx512;

static int64_t f32(int64_t rounds) { PEAK_LOOP(rounds) }

const cot_peak_kernels cot_peak_avx512 = {f32, 0};
