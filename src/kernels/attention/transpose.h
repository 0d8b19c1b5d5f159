/* Transposing a matrix of 4- or 8-byte units: 16 x 16 of them in AVX-512 registers, 8 x 8 in AVX2 ones, the rest one by
 * one. Included by attention_body.h, once for an instruction set. */
#ifndef COT_KERNELS_ATTENTION_TRANSPOSE_H
#define COT_KERNELS_ATTENTION_TRANSPOSE_H

#if COT_ISA_LEVEL >= 1
#include <immintrin.h>
#endif

/* y[c, r] = x[r, c] for r in [r0, rows), c in [c0, columns); strides in units. */
static inline void transpose_rest(size_t unit, int32_t r0, int32_t rows, int32_t c0, int32_t columns, const char *x,
                                  size_t x_stride, char *y, size_t y_stride)
{
    for (int32_t c = c0; c < columns; c++)
        for (int32_t r = r0; r < rows; r++)
            memcpy(y + ((size_t)c * y_stride + (size_t)r) * unit, x + ((size_t)r * x_stride + (size_t)c) * unit, unit);
}

#if COT_ISA_LEVEL == 0

enum { TRANSPOSE_BLOCK = 1 };

static inline void transpose_block(const char *x, size_t x_stride, char *y, size_t y_stride)
{
    (void)x_stride, (void)y_stride;
    memcpy(y, x, 4);
}

#elif COT_ISA_LEVEL == 1

enum { TRANSPOSE_BLOCK = 8 };

static inline void transpose_block(const char *x, size_t x_stride, char *y, size_t y_stride)
{
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i++) a[i] = _mm256_loadu_ps((const float *)(const void *)(x + (size_t)i * x_stride * 4));
    for (int i = 0; i < 8; i += 2) {  /* 2 x 2 */
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {  /* 4 x 4: column i + j of each half */
        for (int j = 0; j < 2; j++) {
            a[i + 2 * j] = _mm256_shuffle_ps(b[i + j], b[i + j + 2], 0x44);
            a[i + 2 * j + 1] = _mm256_shuffle_ps(b[i + j], b[i + j + 2], 0xee);
        }
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps((float *)(void *)(y + (size_t)i * y_stride * 4), _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        _mm256_storeu_ps((float *)(void *)(y + (size_t)(i + 4) * y_stride * 4),
                         _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
}

#else

enum { TRANSPOSE_BLOCK = 16 };

static inline void transpose_block(const char *x, size_t x_stride, char *y, size_t y_stride)
{
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_ps(x + (size_t)i * x_stride * 4);
    for (int i = 0; i < 16; i += 2) {  /* 2 x 2 */
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {  /* 4 x 4: a[i + j] holds columns j, j + 4, j + 8, j + 12 of rows i .. i + 3 */
        for (int j = 0; j < 2; j++) {
            a[i + 2 * j] = _mm512_shuffle_ps(b[i + j], b[i + j + 2], 0x44);
            a[i + 2 * j + 1] = _mm512_shuffle_ps(b[i + j], b[i + j + 2], 0xee);
        }
    }
    for (int j = 0; j < 4; j++) {
        const __m512 top = _mm512_shuffle_f32x4(a[j], a[j + 4], 0x88);
        const __m512 top_odd = _mm512_shuffle_f32x4(a[j], a[j + 4], 0xdd);
        const __m512 low = _mm512_shuffle_f32x4(a[j + 8], a[j + 12], 0x88);
        const __m512 low_odd = _mm512_shuffle_f32x4(a[j + 8], a[j + 12], 0xdd);
        b[j] = _mm512_shuffle_f32x4(top, low, 0x88);
        b[j + 4] = _mm512_shuffle_f32x4(top_odd, low_odd, 0x88);
        b[j + 8] = _mm512_shuffle_f32x4(top, low, 0xdd);
        b[j + 12] = _mm512_shuffle_f32x4(top_odd, low_odd, 0xdd);
    }
    for (int i = 0; i < 16; i++) _mm512_storeu_ps(y + (size_t)i * y_stride * 4, b[i]);
}

#endif

/* y[c, r] = x[r, c], 4-byte units. */
static inline void transpose4(int32_t rows, int32_t columns, const void *x_, size_t x_stride, void *y_, size_t y_stride)
{
    const char *x = x_;
    char *y = y_;
    const int32_t whole_rows = rows / TRANSPOSE_BLOCK * TRANSPOSE_BLOCK;
    const int32_t whole_columns = columns / TRANSPOSE_BLOCK * TRANSPOSE_BLOCK;
    for (int32_t c = 0; c < whole_columns; c += TRANSPOSE_BLOCK)
        for (int32_t r = 0; r < whole_rows; r += TRANSPOSE_BLOCK)
            transpose_block(x + ((size_t)r * x_stride + (size_t)c) * 4, x_stride,
                            y + ((size_t)c * y_stride + (size_t)r) * 4, y_stride);
    transpose_rest(4, 0, rows, whole_columns, columns, x, x_stride, y, y_stride);
    transpose_rest(4, whole_rows, rows, 0, whole_columns, x, x_stride, y, y_stride);
}

#if COT_ISA_LEVEL == 0
/* The same for 8-byte units. */
static inline void transpose8(int32_t rows, int32_t columns, const void *x, size_t x_stride, void *y, size_t y_stride)
{
    transpose_rest(8, 0, rows, 0, columns, x, x_stride, y, y_stride);
}
#endif

#endif
