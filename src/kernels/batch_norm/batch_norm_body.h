/* Included once per mode; see kernels.h. */
#include "kernels/batch_norm/batch_norm.h"

static void K(sums)(int64_t r0, int64_t r1, int64_t c, const void *x_, const uint8_t *skip, double *sum)
{
    for (int64_t r = r0; r < r1; r++) {
        const real *x = (const real *)x_ + r * c;
        if (skip && skip[r]) continue;
#pragma omp simd
        for (int64_t i = 0; i < c; i++) sum[i] += (double)x[i];
    }
}

static void K(squares)(int64_t r0, int64_t r1, int64_t c, const void *x_, const uint8_t *skip, const double *mean, double *sum)
{
    for (int64_t r = r0; r < r1; r++) {
        const real *x = (const real *)x_ + r * c;
        if (skip && skip[r]) continue;
#pragma omp simd
        for (int64_t i = 0; i < c; i++) {
            const double d = (double)x[i] - mean[i];
            sum[i] += d * d;
        }
    }
}

static void K(apply)(int64_t r0, int64_t r1, int64_t c, const void *x_, const double *mean, const double *rstd,
                     const void *gamma_, const void *beta_, void *y_)
{
    const real *gamma = gamma_, *beta = beta_;
    for (int64_t r = r0; r < r1; r++) {
        const real *x = (const real *)x_ + r * c;
        real *y = (real *)y_ + r * c;
#pragma omp simd
        for (int64_t i = 0; i < c; i++) y[i] = (real)(((double)x[i] - mean[i]) * rstd[i]) * gamma[i] + beta[i];
    }
}

static void K(back_sums)(int64_t r0, int64_t r1, int64_t c, const void *x_, const void *dy_, const double *mean,
                         const double *rstd, double *sum, double *product)
{
    for (int64_t r = r0; r < r1; r++) {
        const real *x = (const real *)x_ + r * c, *dy = (const real *)dy_ + r * c;
#pragma omp simd
        for (int64_t i = 0; i < c; i++) {
            sum[i] += (double)dy[i];
            product[i] += (double)dy[i] * ((double)x[i] - mean[i]) * rstd[i];
        }
    }
}

static void K(back_apply)(int64_t r0, int64_t r1, int64_t c, const void *x_, const uint8_t *skip, const void *dy_,
                          const double *mean, const double *rstd, const void *gamma_, const double *a, const double *b,
                          void *dx_, bool accumulate)
{
    const real *gamma = gamma_;
    for (int64_t r = r0; r < r1; r++) {
        const real *x = (const real *)x_ + r * c, *dy = (const real *)dy_ + r * c;
        real *dx = (real *)dx_ + r * c;
        const double counts = skip && skip[r] ? 0 : 1;
#pragma omp simd
        for (int64_t i = 0; i < c; i++) {
            const double xhat = ((double)x[i] - mean[i]) * rstd[i];
            const real d = gamma[i] * (real)(rstd[i] * ((double)dy[i] - counts * (a[i] + xhat * b[i])));
            dx[i] = accumulate ? dx[i] + d : d;
        }
    }
}

const cot_batch_norm_kernels K(cot_batch_norm) = {K(sums), K(squares), K(apply), K(back_sums), K(back_apply)};
