/* Included once per mode; see kernels.h. Some columns at a time, so that their sums stay in registers while the
 * assignments pass. */
#include "kernels/combine/combine.h"

#ifndef COT_COMBINE_COLUMNS
#define COT_COMBINE_COLUMNS 128
#endif

/* sum[i] += weight * row[i] */
static inline void K(add_row)(const act *restrict row, real weight, int64_t n, real *restrict sum)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) sum[i] += weight * LOAD(row[i]);
}

static inline int64_t K(width)(int64_t i0, int64_t d)
{
    return d - i0 < COT_COMBINE_COLUMNS ? d - i0 : COT_COMBINE_COLUMNS;
}

static void K(weighted)(int64_t t0, int64_t t1, int64_t d, const int64_t *first, const int32_t *row_of,
                        const void *gate, const void *rows, const void *base, void *out)
{
    for (int64_t t = t0; t < t1; t++)
        for (int64_t i0 = 0; i0 < d; i0 += COT_COMBINE_COLUMNS) {
            const int64_t n = K(width)(i0, d);
            real sum[COT_COMBINE_COLUMNS] = {0};
            if (base) memcpy(sum, (const real *)base + t * d + i0, (size_t)n * sizeof *sum);
            for (int64_t a = first[t]; a < first[t + 1]; a++)
                if (row_of[a] >= 0) K(add_row)((const act *)rows + row_of[a] * d + i0, ((const real *)gate)[a], n, sum);
            memcpy((real *)out + t * d + i0, sum, (size_t)n * sizeof *sum);
        }
}

static void K(sum)(int64_t t0, int64_t t1, int64_t d, const int64_t *first, const int32_t *row_of, const void *rows,
                   void *out_, bool accumulate)
{
    for (int64_t t = t0; t < t1; t++)
        for (int64_t i0 = 0; i0 < d; i0 += COT_COMBINE_COLUMNS) {
            const int64_t n = K(width)(i0, d);
            real sum[COT_COMBINE_COLUMNS] = {0};
            act *out = (act *)out_ + t * d + i0;
            if (accumulate) K(add_row)(out, 1, n, sum);
            for (int64_t a = first[t]; a < first[t + 1]; a++)
                if (row_of[a] >= 0) K(add_row)((const act *)rows + row_of[a] * d + i0, 1, n, sum);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) out[i] = STORE(sum[i]);
        }
}

static void K(to_rows)(int64_t r0, int64_t r1, const int32_t *order, const void *by_assignment, void *by_row)
{
    for (int64_t r = r0; r < r1; r++) ((real *)by_row)[r] = ((const real *)by_assignment)[order[r]];
}

static void K(from_rows)(int64_t a0, int64_t a1, const int32_t *row_of, const void *by_row, void *by_assignment_,
                         bool accumulate)
{
    real *by_assignment = by_assignment_;
    for (int64_t a = a0; a < a1; a++) {
        const real value = row_of[a] < 0 ? (real)0 : ((const real *)by_row)[row_of[a]];
        by_assignment[a] = accumulate ? by_assignment[a] + value : value;
    }
}

const cot_combine_kernels K(cot_combine) = {K(weighted), K(sum), K(to_rows), K(from_rows)};
