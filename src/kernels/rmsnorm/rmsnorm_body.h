/* Included once per mode; see kernels.h. */
#include "kernels/rmsnorm/rmsnorm.h"

static void K(rmsnorm_forward)(int64_t r0, int64_t r1, int64_t d, const void *x_, const void *w_, double eps, void *y_, void *rstd_)
{
    const real *w = w_;
    real *rstd = rstd_;
    for (int64_t r = r0; r < r1; r++) {
        const real *x = (const real *)x_ + r * d;
        act *y = (act *)y_ + r * d;
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < d; i++) sum += x[i] * x[i];
        const real scale = (real)1 / (real)sqrt((double)(sum / (real)d) + eps);
        rstd[r] = scale;
#pragma omp simd
        for (int64_t i = 0; i < d; i++) y[i] = STORE(w[i] * (x[i] * scale));
    }
}

static void K(rmsnorm_backward)(int64_t r0, int64_t r1, int64_t d, const void *x_, const void *w_, const void *rstd_, const void *dy_,
                                void *dx_, bool accumulate, void *dw_)
{
    const real *w = w_, *rstd = rstd_;
    real *dw = dw_;
    for (int64_t r = r0; r < r1; r++) {
        const real *x = (const real *)x_ + r * d;
        const act *dy = (const act *)dy_ + r * d;
        const real scale = rstd[r];
        real dot = 0;
        if (dw) {
#pragma omp simd
            for (int64_t i = 0; i < d; i++) dw[i] += LOAD(dy[i]) * (x[i] * scale);
        }
        if (!dx_) continue;
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < d; i++) dot += w[i] * LOAD(dy[i]) * x[i];
        const real slope = dot * scale * scale * scale / (real)d;
        real *dx = (real *)dx_ + r * d;
        if (accumulate) {
#pragma omp simd
            for (int64_t i = 0; i < d; i++) dx[i] += scale * w[i] * LOAD(dy[i]) - slope * x[i];
        } else {
#pragma omp simd
            for (int64_t i = 0; i < d; i++) dx[i] = scale * w[i] * LOAD(dy[i]) - slope * x[i];
        }
    }
}

const cot_rmsnorm_kernels K(cot_rmsnorm) = {K(rmsnorm_forward), K(rmsnorm_backward)};
