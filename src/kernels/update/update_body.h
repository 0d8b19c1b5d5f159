/* Included once per mode; see kernels.h. */
#include "kernels/update/update.h"

#ifndef COT_UPDATE_ONCE
#define COT_UPDATE_ONCE
/* Adding uniform bits below the last one that stays, then cutting. The hash is a finaliser of 32 bits: every bit of what
 * goes in moves every bit of what comes out. NaN and infinity stay. */
static inline cot_bf16 cot_round_at_random(float value, cot_rounding rounding, uint32_t element)
{
    uint32_t bits, h = rounding.base + element * 0x9e3779b9u;
    memcpy(&bits, &value, sizeof bits);
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15 ^ rounding.twist) * 0x846ca68bu;
    const uint32_t magnitude = bits & 0x7fffffffu, cut = (bits + (h >> 16)) >> 16;
    return (cot_bf16)(magnitude > 0x7f800000u ? bits >> 16 | 0x40u : cut);
}
#endif

#if COT_IS_F64
#define COT_SQRT sqrt
#else
#define COT_SQRT sqrtf
#endif

static void K(adamw)(int64_t i0, int64_t i1, const cot_adamw_rule *rule, void *w_, const void *g_, void *m_, void *v_)
{
    real *restrict w = w_, *restrict m = m_, *restrict v = v_;
    const real *restrict g = g_;
    const real b1 = (real)rule->beta1, b2 = (real)rule->beta2, n1 = (real)(1 - rule->beta1), n2 = (real)(1 - rule->beta2);
    const real scale = (real)rule->grad_scale, keep = (real)(1 - rule->lr * rule->weight_decay);
    const real rate = (real)(rule->lr / rule->correction1), root = (real)(1 / rule->correction2), eps = (real)rule->eps;
#pragma omp simd
    for (int64_t i = i0; i < i1; i++) {
        const real gradient = g[i] * scale;
        const real first = b1 * m[i] + n1 * gradient, second = b2 * v[i] + n2 * gradient * gradient;
        m[i] = first;
        v[i] = second;
        w[i] = keep * w[i] - rate * first / (COT_SQRT(second * root) + eps);
    }
}

static void K(sgd)(int64_t i0, int64_t i1, double lr, double momentum_, bool nesterov, double weight_decay, double grad_scale, void *w_, const void *g_,
                   void *m_)
{
    real *w = w_, *m = m_;
    const real *g = g_;
    const real momentum = (real)momentum_, rate = (real)lr, scale = (real)grad_scale, keep = (real)(1 - lr * weight_decay);
    for (int64_t i = i0; i < i1; i++) {
        const real gradient = g[i] * scale;
        real step = gradient;
        if (m) {
            m[i] = momentum * m[i] + gradient;
            step = nesterov ? gradient + momentum * m[i] : m[i];
        }
        w[i] = keep * w[i] - rate * step;
    }
}

static void K(apply)(int64_t i0, int64_t i1, double lr, double scale, double weight_decay, void *w_, const void *u_)
{
    real *w = w_;
    const real *u = u_;
    const real keep = (real)(1 - lr * weight_decay), rate = (real)(lr * scale);
#pragma omp simd
    for (int64_t i = i0; i < i1; i++) w[i] = keep * w[i] - rate * u[i];
}

static void K(mix)(int64_t i0, int64_t i1, double a_, const void *x_, double b_, void *y_)
{
    const real *x = x_, a = (real)a_, b = (real)b_;
    real *y = y_;
#pragma omp simd
    for (int64_t i = i0; i < i1; i++) y[i] = a * x[i] + b * y[i];
}

static double K(look_ahead)(int64_t i0, int64_t i1, double momentum_, double grad_scale, const void *g_, void *m_, void *u_)
{
    const real *g = g_, momentum = (real)momentum_, scale = (real)grad_scale;
    real *m = m_, *u = u_;
    double squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = i0; i < i1; i++) {
        const real gradient = scale * g[i];
        m[i] = momentum * m[i] + gradient;
        u[i] = gradient + momentum * m[i];
        squares += (double)u[i] * (double)u[i];
    }
    return squares;
}

static double K(sum_squares)(int64_t i0, int64_t i1, const void *g_)
{
    const real *g = g_;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = i0; i < i1; i++) sum += (double)g[i] * (double)g[i];
    return sum;
}

static void K(adagrad)(int64_t i0, int64_t i1, double lr, double eps_, double weight_decay, double grad_scale, void *w_, const void *g_, void *s_)
{
    real *restrict w = w_, *restrict s = s_;
    const real *restrict g = g_;
    const real rate = (real)lr, eps = (real)eps_, scale = (real)grad_scale, keep = (real)(1 - lr * weight_decay);
#pragma omp simd
    for (int64_t i = i0; i < i1; i++) {
        const real gradient = g[i] * scale, sum = s[i] + gradient * gradient;
        s[i] = sum;
        w[i] = keep * w[i] - rate * gradient / (COT_SQRT(sum) + eps);
    }
}

static void K(widen)(int64_t n, const void *from_, void *to_)
{
    const cot_bf16 *restrict from = from_;
    real *restrict to = to_;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) to[i] = (real)cot_bf16_to_f32(from[i]);
}

static void K(round)(int64_t n, const void *from_, cot_rounding rounding, void *to_)
{
    const real *restrict from = from_;
    cot_bf16 *restrict to = to_;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) to[i] = cot_round_at_random((float)from[i], rounding, (uint32_t)i);
}

static void K(ask)(const void *data, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch((const char *)data + at, 1, 3);
}

const cot_update_kernels K(cot_update) = {K(adamw), K(sgd), K(apply), K(mix), K(look_ahead), K(sum_squares), K(adagrad), K(widen), K(round), K(ask)};
#undef COT_SQRT
