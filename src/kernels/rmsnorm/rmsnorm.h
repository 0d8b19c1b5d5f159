/* Root-mean-square norm over rows: y = w * x / sqrt(mean(x^2) + eps).   [zhang2019root]
 *
 * rows r0..r1-1 of x [R, d] real, w [d] real, y [R, d] act, rstd [R] real (1 / sqrt(mean + eps), kept for going back). */
#ifndef COT_KERNELS_RMSNORM_H
#define COT_KERNELS_RMSNORM_H

#include "kernels/kernels.h"

typedef struct {
    void (*forward)(int64_t r0, int64_t r1, int64_t d, const void *x, const void *w, double eps, void *y, void *rstd);
    /* dx (+)= rstd * (w dy - xhat * mean(w dy xhat)) with xhat = x * rstd; dw [d] real += sum of dy * xhat over the rows.
     * dx real; accumulate adds to it. dx or dw may be NULL. */
    void (*backward)(int64_t r0, int64_t r1, int64_t d, const void *x, const void *w, const void *rstd, const void *dy, void *dx, bool accumulate, void *dw);
} cot_rmsnorm_kernels;

const cot_rmsnorm_kernels *cot_rmsnorm_kernels_for(cot_mode mode);

#endif
