/* Included once per mode; see kernels.h. */
#include "kernels/product_key/product_key.h"

/* A pair of ranks (p, q) has (p + 1)(q + 1) - 1 pairs before it, so those with (p + 1)(q + 1) > k cannot be among the k
 * best. Along q scores fall: once one is too low, so are the rest. */
static void K(combine)(int64_t n, int64_t k, const void *a_, const int32_t *ia, const void *b_, const int32_t *ib,
                       int32_t *slot, void *score_)
{
    const real *a = a_, *b = b_;
    real       *score = score_;
    int64_t     found = 0;
    for (int64_t p = 0; p < k; p++)
        for (int64_t q = 0; (p + 1) * (q + 1) <= k; q++) {
            const double  sum = (double)a[ia[p]] + (double)b[ib[q]];
            const int32_t here = (int32_t)(ia[p] * n + ib[q]);
            int64_t       place = found;
            while (place > 0) {
                const int32_t other = slot[place - 1];
                const double  least = (double)a[other / n] + (double)b[other % n];
                if (least > sum || (least == sum && other < here)) break;
                place--;
            }
            if (place == k) break;
            if (found < k) found++;
            for (int64_t i = found - 1; i > place; i--) slot[i] = slot[i - 1];
            slot[place] = here;
        }
    for (int64_t i = 0; i < k; i++) score[i] = (real)((double)a[slot[i] / n] + (double)b[slot[i] % n]);
}

static inline void K(add_key)(int64_t half, real scale, const real *restrict from, real *restrict to)
{
#pragma omp simd
    for (int64_t i = 0; i < half; i++) to[i] += scale * from[i];
}

static void K(back_query)(int64_t n, int64_t half, int64_t k, const int32_t *slot, const void *ds_, const void *keys_a,
                          const void *keys_b, void *dq_, bool accumulate)
{
    const real *ds = ds_;
    real       *dq = dq_;
    for (int64_t i = 0; i < 2 * half && !accumulate; i++) dq[i] = 0;
    for (int64_t i = 0; i < k; i++) {
        K(add_key)(half, ds[i], (const real *)keys_a + slot[i] / n * half, dq);
        K(add_key)(half, ds[i], (const real *)keys_b + slot[i] % n * half, dq + half);
    }
}

static void K(back_key)(int64_t count, const int32_t *order, int64_t k, int64_t half, int64_t ld, const void *ds_,
                        const void *query, void *dkey_, bool accumulate)
{
    const real *ds = ds_;
    real       *dkey = dkey_;
    for (int64_t i = 0; i < half && !accumulate; i++) dkey[i] = 0;
    for (int64_t i = 0; i < count; i++)
        K(add_key)(half, ds[order[i]], (const real *)query + order[i] / k * ld, dkey);
}

const cot_product_key_kernels K(cot_product_key) = {K(combine), K(back_query), K(back_key)};
