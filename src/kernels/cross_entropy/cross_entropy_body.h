/* Included once per mode; see kernels.h. */
#include "kernels/cross_entropy/cross_entropy.h"

static real K(row_maximum)(int64_t v, const real *h)
{
    real largest = h[0];
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < v; i++) largest = h[i] > largest ? h[i] : largest;
    return largest;
}

static void K(cross_entropy_forward)(int64_t r0, int64_t r1, int64_t v, const void *logits, const int32_t *target, void *nll_)
{
    real *nll = nll_;
    for (int64_t r = r0; r < r1; r++) {
        const real *h = (const real *)logits + r * v;
        nll[r] = 0;
        if (target[r] < 0) continue;
        const real largest = K(row_maximum)(v, h);
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < v; i++) sum += EXP(h[i] - largest);
        nll[r] = (real)(log((double)sum) + (double)largest - (double)h[target[r]]);
    }
}

static void K(cross_entropy_with_gradient)(int64_t r0, int64_t r1, int64_t v, void *logits, const int32_t *target, double scale, void *dlogits,
                                           void *nll_)
{
    real *nll = nll_;
    for (int64_t r = r0; r < r1; r++) {
        real *h = (real *)logits + r * v;
        act *dh = (act *)dlogits + r * v;
        nll[r] = 0;
        if (target[r] < 0) {
            for (int64_t i = 0; i < v; i++) dh[i] = STORE((real)0);
            continue;
        }
        const real largest = K(row_maximum)(v, h), chosen = h[target[r]];
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < v; i++) {
            const real e = EXP(h[i] - largest);
            h[i] = e;
            sum += e;
        }
        const real factor = (real)(scale / (double)sum), at_target = h[target[r]];
#pragma omp simd
        for (int64_t i = 0; i < v; i++) dh[i] = STORE(factor * h[i]);
        dh[target[r]] = STORE(factor * at_target - (real)scale);
        nll[r] = (real)(log((double)sum) + (double)largest - (double)chosen);
    }
}

const cot_cross_entropy_kernels K(cot_cross_entropy) = {K(cross_entropy_forward), K(cross_entropy_with_gradient)};
