#define STRIPS_RUN cot_tile_run_strips_avx512
#define WORD_ELEMENTS 1
#define STEP(sum, a, b) _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum)
/* f32 has no narrower c */
#define LOAD_NARROW(c, mask) _mm512_maskz_loadu_ps(mask, c)
#define STORE_NARROW(c, mask, sum) _mm512_mask_storeu_ps(c, mask, sum)
#include "kernels/product/strips_body.h"
