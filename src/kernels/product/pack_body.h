/* Included once per mode; see kernels.h. In bf16, a pair along k is a 32-bit word with the even element low: pairs
 * are made row by row and then move as words. */
#include "kernels/product/pack.h"

#if COT_ISA_LEVEL >= 2
#include "kernels/product/transpose_avx512.h"
#endif
#if COT_ISA_LEVEL >= 3
#include "kernels/product/narrow_avx512bf16.h"
#endif

#ifndef COT_PACK_ONCE
#define COT_PACK_ONCE
#define ROW(type, source, r) \
    ((const type *)(source)->data + ((source)->rows ? (int64_t)(source)->rows[r] : (r)) * (source)->ld)
typedef uint32_t __attribute__((may_alias)) word32;
typedef uint64_t __attribute__((may_alias)) word64;
enum { SIDE = 16 };  /* transposition goes by squares of 16 x 16 */
static inline int smaller(int a, int64_t b) { return a < b ? a : (int)b; }
#endif

#if COT_IS_F64
#define word word64
#else
#define word word32
#endif

/* to(p, j) = from[j][p] for j < rows, p < columns; from's rows are contiguous in `from_ld` words */
static inline void K(transpose)(const word *restrict from, size_t from_ld, int rows, int columns, word *restrict to,
                                size_t to_ld)
{
#if COT_ISA_LEVEL >= 2
    if (rows == SIDE && columns == SIDE) {
        cot_transpose16(from, from_ld, to, to_ld);
        return;
    }
#endif
    for (int p = 0; p < columns; p++)
        for (int j = 0; j < rows; j++) to[(size_t)p * to_ld + (size_t)j] = from[(size_t)j * from_ld + (size_t)p];
}

#if COT_IS_BF16

/* words[j] = (bf16) low[j] | (bf16) high[j] << 16; high NULL: zeros */
static inline void K(pairs_real)(const float *restrict low, const float *restrict high, int n, word *restrict words)
{
    int j = 0;
#if COT_ISA_LEVEL >= 3
    for (; high && j + SIDE <= n; j += SIDE) cot_pair_rows(low + j, high + j, words + j);
#endif
    if (high)
        for (; j < n; j++) words[j] = (uint32_t)STORE(low[j]) | (uint32_t)STORE(high[j]) << 16;
    else
        for (; j < n; j++) words[j] = STORE(low[j]);
}

static inline void K(pairs_act)(const cot_bf16 *restrict low, const cot_bf16 *restrict high, int n,
                                word *restrict words)
{
    if (high)
        for (int j = 0; j < n; j++) words[j] = (uint32_t)low[j] | (uint32_t)high[j] << 16;
    else
        for (int j = 0; j < n; j++) words[j] = low[j];
}

/* The pairs of rows r and r + 1 (absent: zero) in columns c0 .. c0 + n - 1. */
static inline void K(pairs)(const cot_pack_source *s, int64_t r, bool second, int64_t c0, int n, word *words)
{
    if (s->is_real) K(pairs_real)(ROW(float, s, r) + c0, second ? ROW(float, s, r + 1) + c0 : NULL, n, words);
    else K(pairs_act)(ROW(cot_bf16, s, r) + c0, second ? ROW(cot_bf16, s, r + 1) + c0 : NULL, n, words);
}

/* Row by row over all panels, so that the source is read as it lies. */
static void K(panels)(const cot_pack_source *s, int64_t r0, int64_t c0, int k, int padded, int64_t n, void *panels)
{
    const size_t stride = (size_t)padded / 2 * COT_PANEL;
    for (int p = 0; p < padded; p += 2) {
        word *to = (word *)panels + (size_t)p / 2 * COT_PANEL;
        for (int64_t j = 0; j < n; j += COT_PANEL, to += stride) {
            if (p < k) K(pairs)(s, r0 + p, p + 1 < k, c0 + j, smaller(COT_PANEL, n - j), to);
            else memset(to, 0, COT_PANEL * sizeof *to);
        }
    }
}

static inline void K(narrow)(const float *restrict from, int n, cot_bf16 *restrict to)
{
    int i = 0;
#if COT_ISA_LEVEL >= 3
    for (; i + 2 * SIDE <= n; i += 2 * SIDE) cot_narrow32(from + i, to + i);
#endif
    for (; i < n; i++) to[i] = STORE(from[i]);
}

/* Sixteen rows of the source to sixteen columns of a panel. */
static void K(strip)(const cot_pack_source *s, int64_t r0, int64_t c0, int k, int padded, int rows, word *to)
{
    _Alignas(64) cot_bf16 square[SIDE][2 * SIDE];
    for (int p = 0; p < padded; p += 2 * SIDE) {
        const int columns = smaller(2 * SIDE, k - p), pairs = smaller(SIDE, (padded - p) / 2);
        if (columns < 2 * SIDE) memset(square, 0, sizeof square);
        for (int i = 0; i < rows && columns > 0; i++) K(narrow)(ROW(float, s, r0 + i) + c0 + p, columns, square[i]);
        K(transpose)((const word *)(const void *)square, SIDE, rows, pairs, to + p / 2 * COT_PANEL, COT_PANEL);
    }
}

static void K(panels_transposed)(const cot_pack_source *s, int64_t r0, int64_t c0, int k, int padded, int64_t n,
                                 void *panels)
{
    for (int64_t j = 0; j < n; j += SIDE) {
        word *to = (word *)panels + j / COT_PANEL * COT_PANEL * (padded / 2) + j % COT_PANEL;
        K(strip)(s, r0 + j, c0, k, padded, smaller(SIDE, n - j), to);
    }
}

static void K(block)(const cot_pack_source *s, int64_t r0, int64_t c0, int m, int k, int padded, int ld, void *block)
{
    for (int i = 0; i < m; i++) {
        cot_bf16 *to = (cot_bf16 *)block + (size_t)i * (size_t)ld;
        if (s->is_real) K(narrow)(ROW(float, s, r0 + i) + c0, k, to);
        else memcpy(to, ROW(cot_bf16, s, r0 + i) + c0, (size_t)k * sizeof *to);
        for (int p = k; p < padded; p++) to[p] = 0;
    }
}

#else

static void K(panels)(const cot_pack_source *s, int64_t r0, int64_t c0, int k, int padded, int64_t n, void *panels)
{
    const size_t stride = (size_t)padded * COT_PANEL;
    for (int p = 0; p < padded; p++) {
        real *to = (real *)panels + (size_t)p * COT_PANEL;
        for (int64_t j = 0; j < n; j += COT_PANEL, to += stride) {
            if (p < k) memcpy(to, ROW(real, s, r0 + p) + c0 + j, (size_t)smaller(COT_PANEL, n - j) * sizeof *to);
            else memset(to, 0, COT_PANEL * sizeof *to);
        }
    }
}

static void K(panels_transposed)(const cot_pack_source *s, int64_t r0, int64_t c0, int k, int padded, int64_t n,
                                 void *panels)
{
    for (int64_t j = 0; j < n; j += SIDE) {
        word *to = (word *)panels + j / COT_PANEL * COT_PANEL * padded + j % COT_PANEL;
        const int rows = smaller(SIDE, n - j);
        for (int p = 0; p < k; p += SIDE)
            K(transpose)(ROW(word, s, r0 + j) + c0 + p, (size_t)s->ld, rows, smaller(SIDE, k - p),
                         to + (size_t)p * COT_PANEL, COT_PANEL);
        for (int p = k; p < padded; p++) memset(to + (size_t)p * COT_PANEL, 0, (size_t)rows * sizeof *to);
    }
}

static void K(block)(const cot_pack_source *s, int64_t r0, int64_t c0, int m, int k, int padded, int ld, void *block)
{
    for (int i = 0; i < m; i++) {
        real *to = (real *)block + (size_t)i * (size_t)ld;
        memcpy(to, ROW(real, s, r0 + i) + c0, (size_t)k * sizeof *to);
        for (int p = k; p < padded; p++) to[p] = 0;
    }
}

#endif

static void K(settle)(int64_t m, int64_t n, const void *sums_, int64_t ld, void *c_, int64_t ldc, bool accumulate)
{
    for (int64_t i = 0; i < m; i++) {
        const real *restrict sums = (const real *)sums_ + i * ld;
        act *restrict c = (act *)c_ + i * ldc;
        if (accumulate)
            for (int64_t j = 0; j < n; j++) c[j] = STORE(LOAD(c[j]) + sums[j]);
        else
            for (int64_t j = 0; j < n; j++) c[j] = STORE(sums[j]);
    }
}

const cot_pack_kernels K(cot_pack) = {K(panels), K(panels_transposed), K(block), K(settle)};

#undef word
