/* Included once per mode; see kernels.h. */
#include "kernels/elementwise/elementwise.h"

static void K(add)(int64_t i0, int64_t i1, const void *x_, void *y_)
{
    const real *x = x_;
    real *y = y_;
#pragma omp simd
    for (int64_t i = i0; i < i1; i++) y[i] += x[i];
}

static void K(scale_add)(int64_t i0, int64_t i1, double factor_, const void *x_, void *y_, bool accumulate)
{
    const act *x = x_;
    act *y = y_;
    const real factor = (real)factor_;
    if (accumulate) {
#pragma omp simd
        for (int64_t i = i0; i < i1; i++) y[i] = STORE(LOAD(y[i]) + factor * LOAD(x[i]));
    } else {
#pragma omp simd
        for (int64_t i = i0; i < i1; i++) y[i] = STORE(factor * LOAD(x[i]));
    }
}

static void K(widen)(int64_t i0, int64_t i1, const void *x_, void *y_, bool accumulate)
{
    const act *x = x_;
    real *y = y_;
    if (accumulate) {
#pragma omp simd
        for (int64_t i = i0; i < i1; i++) y[i] += LOAD(x[i]);
    } else {
#pragma omp simd
        for (int64_t i = i0; i < i1; i++) y[i] = LOAD(x[i]);
    }
}

static void K(narrow)(int64_t i0, int64_t i1, const void *x_, void *y_)
{
    const real *x = x_;
    act *y = y_;
#pragma omp simd
    for (int64_t i = i0; i < i1; i++) y[i] = STORE(x[i]);
}

static void K(add_bias)(int64_t r0, int64_t r1, int64_t d, const void *bias_, void *y_, bool y_is_act)
{
    const real *bias = bias_;
    for (int64_t r = r0; r < r1; r++) {
        if (y_is_act) {
            act *y = (act *)y_ + r * d;
#pragma omp simd
            for (int64_t i = 0; i < d; i++) y[i] = STORE(LOAD(y[i]) + bias[i]);
        } else {
            real *y = (real *)y_ + r * d;
#pragma omp simd
            for (int64_t i = 0; i < d; i++) y[i] += bias[i];
        }
    }
}

static void K(column_sum)(int64_t r0, int64_t r1, int64_t d, const void *x_, bool x_is_act, void *sum_)
{
    real *sum = sum_;
    for (int64_t r = r0; r < r1; r++) {
        if (x_is_act) {
            const act *x = (const act *)x_ + r * d;
#pragma omp simd
            for (int64_t i = 0; i < d; i++) sum[i] += LOAD(x[i]);
        } else {
            const real *x = (const real *)x_ + r * d;
#pragma omp simd
            for (int64_t i = 0; i < d; i++) sum[i] += x[i];
        }
    }
}

static void K(dropout)(int64_t i0, int64_t i1, double rate, cot_rng_key key, const void *x_, void *y_, bool is_act, bool accumulate)
{
    const uint32_t threshold = (uint32_t)(rate * 4294967295.0);
    const real factor = (real)(1.0 / (1.0 - rate));
    uint32_t bits[4] = {0};
    uint64_t have = UINT64_MAX;
    for (int64_t i = i0; i < i1; i++) {
        if ((uint64_t)i / 4 != have) cot_rng_bits(key, have = (uint64_t)i / 4, bits);
        const real keep = bits[i % 4] >= threshold ? factor : (real)0;
        if (is_act) {
            const act *x = x_;
            act *y = y_;
            y[i] = STORE((accumulate ? LOAD(y[i]) : (real)0) + keep * LOAD(x[i]));
        } else {
            const real *x = x_;
            real *y = y_;
            y[i] = (accumulate ? y[i] : (real)0) + keep * x[i];
        }
    }
}

static void K(gated_add)(int64_t r0, int64_t r1, int64_t d, const void *base_, const void *logit_, const void *y_, void *out_)
{
    const real *logit = logit_;
    for (int64_t r = r0; r < r1; r++) {
        const real gate = (real)1 / ((real)1 + (real)exp(-(double)logit[r]));
        const real *base = (const real *)base_ + r * d, *y = (const real *)y_ + r * d;
        real *out = (real *)out_ + r * d;
#pragma omp simd
        for (int64_t i = 0; i < d; i++) out[i] = base[i] + gate * y[i];
    }
}

static void K(gated_add_backward)(int64_t r0, int64_t r1, int64_t d, const void *logit_, const void *y_, const void *dout_, void *dy_,
                                  bool dy_accumulate, void *dlogit_, bool dlogit_accumulate)
{
    const real *logit = logit_;
    for (int64_t r = r0; r < r1; r++) {
        const real gate = (real)1 / ((real)1 + (real)exp(-(double)logit[r]));
        const real *y = (const real *)y_ + r * d, *dout = (const real *)dout_ + r * d;
        if (dy_) {
            real *dy = (real *)dy_ + r * d;
            for (int64_t i = 0; i < d; i++) dy[i] = (dy_accumulate ? dy[i] : (real)0) + gate * dout[i];
        }
        if (dlogit_) {
            real dot = 0, *dlogit = dlogit_;
#pragma omp simd reduction(+ : dot)
            for (int64_t i = 0; i < d; i++) dot += dout[i] * y[i];
            dlogit[r] = (dlogit_accumulate ? dlogit[r] : (real)0) + dot * gate * ((real)1 - gate);
        }
    }
}

const cot_elementwise_kernels K(cot_elementwise) = {
    K(add), K(scale_add), K(widen), K(narrow), K(add_bias), K(column_sum), K(dropout), K(gated_add), K(gated_add_backward),
};
