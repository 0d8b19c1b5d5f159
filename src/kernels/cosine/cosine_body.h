/* Included once per mode; see kernels.h. */
#include "kernels/cosine/cosine.h"

static double K(dot)(int64_t i0, int64_t i1, const void *x_, const void *y_)
{
    const real *x = x_, *y = y_;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = i0; i < i1; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

static real K(length_of)(double squares) { return squares == 0 ? (real)INFINITY : (real)sqrt(squares); }

static real K(unit_act)(int64_t d, const act *x, real *y)
{
    double squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < d; i++) squares += (double)LOAD(x[i]) * (double)LOAD(x[i]);
    const real length = K(length_of)(squares);
#pragma omp simd
    for (int64_t i = 0; i < d; i++) y[i] = LOAD(x[i]) / length;
    return length;
}

static real K(unit_real)(int64_t d, const real *x, real *y)
{
    const real length = K(length_of)(K(dot)(0, d, x, x));
#pragma omp simd
    for (int64_t i = 0; i < d; i++) y[i] = x[i] / length;
    return length;
}

static void K(unit)(int64_t r0, int64_t r1, int64_t d, const void *x, bool x_is_act, void *y_, void *length_)
{
    real *length = length_;
    for (int64_t r = r0; r < r1; r++) {
        real *y = (real *)y_ + r * d;
        length[r] = x_is_act ? K(unit_act)(d, (const act *)x + r * d, y) : K(unit_real)(d, (const real *)x + r * d, y);
    }
}

static void K(unit_backward)(int64_t r0, int64_t r1, int64_t d, const void *y_, const void *dy_, const void *length_, void *dx_,
                             bool dx_is_act, bool accumulate)
{
    for (int64_t r = r0; r < r1; r++) {
        const real *y = (const real *)y_ + r * d, *dy = (const real *)dy_ + r * d;
        const real length = ((const real *)length_)[r], along = (real)K(dot)(0, d, y, dy);
        if (dx_is_act) {
            act *dx = (act *)dx_ + r * d;
#pragma omp simd
            for (int64_t i = 0; i < d; i++)
                dx[i] = STORE((accumulate ? LOAD(dx[i]) : (real)0) + (dy[i] - y[i] * along) / length);
        } else {
            real *dx = (real *)dx_ + r * d;
#pragma omp simd
            for (int64_t i = 0; i < d; i++) dx[i] = (accumulate ? dx[i] : (real)0) + (dy[i] - y[i] * along) / length;
        }
    }
}

static void K(divide)(int64_t i0, int64_t i1, double divisor_, const void *x_, void *y_, bool accumulate)
{
    const real *x = x_, divisor = (real)divisor_;
    real *y = y_;
#pragma omp simd
    for (int64_t i = i0; i < i1; i++) y[i] = (accumulate ? y[i] : (real)0) + x[i] / divisor;
}

const cot_cosine_kernels K(cot_cosine) = {K(unit), K(unit_backward), K(divide), K(dot)};
