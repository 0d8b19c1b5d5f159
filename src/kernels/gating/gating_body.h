/* Included once per mode; see kernels.h. */
#include "kernels/gating/gating.h"

#if COT_ISA_LEVEL >= 2
#include <immintrin.h>
#endif

#ifndef COT_GATING_ONCE
#define COT_GATING_ONCE
enum { WIDE_ROW = 64, WIDE_MOST_CHOICES = 16 };  /* of top_k: rows so long, and so few choices */
#endif

static real K(row_max)(int64_t e, const real *h)
{
    real m = -(real)INFINITY;
#pragma omp simd reduction(max : m)
    for (int64_t i = 0; i < e; i++) m = h[i] > m ? h[i] : m;
    return m;
}

/* out = exp(h - m), exactly 0 where h is masked; returns the sum. */
static real K(row_exp)(int64_t e, const real *h, real m, real *out)
{
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < e; i++) {
        const real v = EXP(h[i] - m);
        out[i] = h[i] == -(real)INFINITY ? (real)0 : v;
        sum += out[i];
    }
    return sum;
}

static void K(softmax)(int64_t r0, int64_t r1, int64_t e, const void *h_, void *p_)
{
    for (int64_t r = r0; r < r1; r++) {
        const real *h = (const real *)h_ + r * e;
        real *p = (real *)p_ + r * e;
        const real sum = K(row_exp)(e, h, K(row_max)(e, h), p);
        const real divisor = sum == (real)0 ? (real)1 : sum;
#pragma omp simd
        for (int64_t i = 0; i < e; i++) p[i] /= divisor;
    }
}

static void K(softmax_backward)(int64_t r0, int64_t r1, int64_t e, const void *p_, const void *dp_, void *dh_,
                                bool accumulate)
{
    for (int64_t r = r0; r < r1; r++) {
        const real *p = (const real *)p_ + r * e, *dp = (const real *)dp_ + r * e;
        real *dh = (real *)dh_ + r * e, mean = 0;
#pragma omp simd reduction(+ : mean)
        for (int64_t i = 0; i < e; i++) mean += p[i] * dp[i];
        if (accumulate) {
#pragma omp simd
            for (int64_t i = 0; i < e; i++) dh[i] += p[i] * (dp[i] - mean);
        } else {
#pragma omp simd
            for (int64_t i = 0; i < e; i++) dh[i] = p[i] * (dp[i] - mean);
        }
    }
}

/* The sum of exp(h - m) over unmasked entries. */
static real K(row_exp_sum)(int64_t e, const real *h, real m)
{
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < e; i++) {
        const real v = EXP(h[i] - m);
        sum += h[i] == -(real)INFINITY ? (real)0 : v;
    }
    return sum;
}

static void K(log_sum_exp)(int64_t r0, int64_t r1, int64_t e, const void *h_, void *lse_)
{
    real *lse = lse_;
    for (int64_t r = r0; r < r1; r++) {
        const real *h = (const real *)h_ + r * e;
        const real m = K(row_max)(e, h), sum = K(row_exp_sum)(e, h, m);
        lse[r] = sum == (real)0 ? -(real)INFINITY : m + (real)log((double)sum);
    }
}

static void K(z_backward)(int64_t r0, int64_t r1, int64_t e, double factor, const void *h_, const void *lse_, void *dh_,
                          bool accumulate)
{
    const real *lse = lse_;
    for (int64_t r = r0; r < r1; r++) {
        const real *h = (const real *)h_ + r * e;
        real *dh = (real *)dh_ + r * e;
        const real m = K(row_max)(e, h), sum = K(row_exp_sum)(e, h, m);
        const real scale = sum == (real)0 ? (real)0 : (real)(factor * (double)lse[r]) / sum;
#pragma omp simd
        for (int64_t i = 0; i < e; i++) {
            const real v = scale * EXP(h[i] - m);
            dh[i] = (accumulate ? dh[i] : (real)0) + (h[i] == -(real)INFINITY ? (real)0 : v);
        }
    }
}

/* Keeps the best k so far in order; a newcomer must be strictly larger than what it passes, so ties stay with the
 * lower index. */
static void K(row_top_k)(int64_t e, int64_t k, const real *h, int32_t *chosen)
{
    for (int64_t i = 0; i < e; i++) {
        const real v = h[i] == h[i] ? h[i] : -(real)INFINITY;
        int64_t place = i < k ? i : k;
        while (place > 0) {
            const real other = h[chosen[place - 1]];
            if (!(v > (other == other ? other : -(real)INFINITY))) break;
            if (place < k) chosen[place] = chosen[place - 1];
            place--;
        }
        if (place < k) chosen[place] = (int32_t)i;
    }
}

#if COT_ISA_LEVEL >= 2

/* Wide rows: sixteen at a time are held against the least of the best so far, which lie in one vector, best first. A
 * newcomer opens a gap for itself behind all that are as large. */
static void K(wide_row_top_k)(int64_t e, int64_t k, const real *h, int32_t *chosen)
{
    const __m512i last = _mm512_set1_epi32((int)k - 1);
    real          start[WIDE_MOST_CHOICES];
    K(row_top_k)(WIDE_MOST_CHOICES, k, h, chosen);
    for (int64_t j = 0; j < WIDE_MOST_CHOICES; j++) start[j] = j < k && h[chosen[j]] == h[chosen[j]] ? h[chosen[j]] : -(real)INFINITY;
    __m512  best = _mm512_loadu_ps(start);
    __m512i index = _mm512_maskz_loadu_epi32((__mmask16)((1u << k) - 1), chosen);
    __m512  least = _mm512_permutexvar_ps(last, best);
    for (int64_t i = WIDE_MOST_CHOICES; i < e; i += 16) {
        const __mmask16 there = (__mmask16)(e - i < 16 ? (1u << (e - i)) - 1 : 0xffffu);
        unsigned larger = _mm512_mask_cmp_ps_mask(there, _mm512_maskz_loadu_ps(there, h + i), least, _CMP_GT_OQ);
        for (; larger; larger &= larger - 1) {
            const int at = (int)i + __builtin_ctz(larger);
            const __m512 value = _mm512_set1_ps(h[at]);
            const unsigned before = _mm512_cmp_ps_mask(best, value, _CMP_GE_OQ);  /* the first so many */
            const __mmask16 others = (__mmask16)~(before + 1);
            best = _mm512_mask_expand_ps(value, others, best);
            index = _mm512_mask_expand_epi32(_mm512_set1_epi32(at), others, index);
        }
        least = _mm512_permutexvar_ps(last, best);
    }
    _mm512_mask_storeu_epi32(chosen, (__mmask16)((1u << k) - 1), index);
}

#endif

static int64_t K(top_k)(int64_t r0, int64_t r1, int64_t e, int64_t k, const void *h_, int32_t *chosen)
{
    int64_t bad = 0;
    for (int64_t r = r0; r < r1; r++) {
        const real *h = (const real *)h_ + r * e;
#if COT_ISA_LEVEL >= 2
        if (e >= WIDE_ROW && k <= WIDE_MOST_CHOICES) K(wide_row_top_k)(e, k, h, chosen + r * k);
        else
#endif
            K(row_top_k)(e, k, h, chosen + r * k);
        int32_t row_bad = 0;
#pragma omp simd reduction(+ : row_bad)
        for (int64_t i = 0; i < e; i++) row_bad += !(h[i] < (real)INFINITY);
        bad += row_bad;
    }
    return bad;
}

static void K(column_sum)(int64_t r0, int64_t r1, int64_t e, const void *x_, double *sum)
{
    for (int64_t r = r0; r < r1; r++) {
        const real *x = (const real *)x_ + r * e;
#pragma omp simd
        for (int64_t i = 0; i < e; i++) sum[i] += (double)x[i];
    }
}

/* With q the largest probability and m its logit, -ln p_i = (m - h_i) - ln q: one logarithm a row, nothing cancels. */
static double K(entropy)(int64_t r0, int64_t r1, int64_t e, const void *h_, const void *p_)
{
    double total = 0;
    for (int64_t r = r0; r < r1; r++) {
        const real *h = (const real *)h_ + r * e, *p = (const real *)p_ + r * e;
        const real m = K(row_max)(e, h);
        real sum = 0, mass = 0, largest = 0;
#pragma omp simd reduction(+ : sum, mass) reduction(max : largest)
        for (int64_t i = 0; i < e; i++) {
            sum += p[i] > (real)0 ? p[i] * (m - h[i]) : (real)0;
            mass += p[i];
            largest = p[i] > largest ? p[i] : largest;
        }
        if (largest > (real)0) total += (double)sum - (double)mass * log((double)largest);
    }
    return total;
}

/* Eight factors from one block of random bits. */
static void K(jitter_factors)(cot_rng_key key, uint64_t block, real low, real step, real *u)
{
    uint32_t bits[4];
    cot_rng_bits(key, block, bits);
    for (int j = 0; j < 4; j++) {
        u[2 * j] = low + step * (real)(bits[j] & 0xffffu);
        u[2 * j + 1] = low + step * (real)(bits[j] >> 16);
    }
}

static void K(jitter)(int64_t i0, int64_t i1, double eps, cot_rng_key key, const void *x_, void *y_, bool accumulate)
{
    /* the middles of 65536 equal parts */
    const real step = (real)(eps * 0x1p-15), low = (real)(1 - eps + eps * 0x1p-16);
    for (int64_t i = i0; i < i1; i += 8) {
        const act *x = (const act *)x_ + i;
        act *y = (act *)y_ + i;
        const int64_t n = i1 - i < 8 ? i1 - i : 8;
        real u[8];
        K(jitter_factors)(key, (uint64_t)i / 8, low, step, u);
        for (int64_t j = 0; j < n; j++) y[j] = STORE((accumulate ? LOAD(y[j]) : (real)0) + LOAD(x[j]) * u[j]);
    }
}

/* Four rows side by side: their chains of sums do not wait for each other. */
static void K(score)(int64_t e0, int64_t e1, int64_t d, const void *w_, const void *x_, void *h_)
{
    const real *x = x_;
    real       *h = h_;
    int64_t     e = e0;
    for (; e + 4 <= e1; e += 4) {
        const real *w = (const real *)w_ + e * d;
        real a = 0, b = 0, c = 0, f = 0;
#pragma omp simd reduction(+ : a, b, c, f)
        for (int64_t i = 0; i < d; i++) {
            a += w[i] * x[i];
            b += w[d + i] * x[i];
            c += w[2 * d + i] * x[i];
            f += w[3 * d + i] * x[i];
        }
        h[e] = a, h[e + 1] = b, h[e + 2] = c, h[e + 3] = f;
    }
    for (; e < e1; e++) {
        const real *w = (const real *)w_ + e * d;
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < d; i++) sum += w[i] * x[i];
        h[e] = sum;
    }
}

const cot_gating_kernels K(cot_gating) = {
    K(softmax), K(softmax_backward), K(log_sum_exp), K(z_backward), K(top_k),
    K(column_sum), K(entropy), K(jitter), K(score),
};
