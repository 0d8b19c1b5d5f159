#define STRIPS_RUN cot_tile_run_strips_avx512bf16
#define WORD_ELEMENTS 2
#define STEP(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
#define LOAD_NARROW(c, mask) \
    _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, c)), 16))
#define STORE_NARROW(c, mask, sum) _mm256_mask_storeu_epi16(c, mask, (__m256i)_mm512_cvtneps_pbh(sum))
#include "kernels/product/strips_body.h"
