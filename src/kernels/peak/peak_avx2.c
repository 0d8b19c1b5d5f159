#include <immintrin.h>

#define VECTOR __m256
#define ZEROS _mm256_setzero_ps()
#define FACTOR __m256
#define FACTORS _mm256_set1_ps(0.5f)
#define STEP(sum, x) _mm256_fmadd_ps(sum, x, x)
#define LANES 16
#include "kernels/peak/peak_body.h"

extern const cot_peak_kernels cot_peak_avx2;

static int64_t f32(int64_t rounds) { PEAK_LOOP(rounds) }

const cot_peak_kernels cot_peak_avx2 = {f32, 0};
