/* Columns of x [T, C], all real, over rows [r0, r1). skip [T] (may be NULL): rows that do not count. Sums [C] in f64. */
#ifndef COT_KERNELS_BATCH_NORM_H
#define COT_KERNELS_BATCH_NORM_H

#include "kernels/kernels.h"

typedef struct {
    /* sum += x */
    void (*sums)(int64_t r0, int64_t r1, int64_t c, const void *x, const uint8_t *skip, double *sum);
    /* sum += (x - mean)^2 */
    void (*squares)(int64_t r0, int64_t r1, int64_t c, const void *x, const uint8_t *skip, const double *mean, double *sum);
    /* y = (x - mean) * rstd * gamma + beta; mean, rstd [C] f64, gamma, beta [C] */
    void (*apply)(int64_t r0, int64_t r1, int64_t c, const void *x, const double *mean, const double *rstd,
                  const void *gamma, const void *beta, void *y);
    /* sum += dy, product += dy * (x - mean) * rstd */
    void (*back_sums)(int64_t r0, int64_t r1, int64_t c, const void *x, const void *dy, const double *mean,
                      const double *rstd, double *sum, double *product);
    /* dx (+)= gamma rstd (dy - a - (x - mean) rstd b), where a and b [C] f64 count only in rows that count */
    void (*back_apply)(int64_t r0, int64_t r1, int64_t c, const void *x, const uint8_t *skip, const void *dy,
                       const double *mean, const double *rstd, const void *gamma, const double *a, const double *b,
                       void *dx, bool accumulate);
} cot_batch_norm_kernels;

const cot_batch_norm_kernels *cot_batch_norm_kernels_for(cot_mode mode);

#endif
