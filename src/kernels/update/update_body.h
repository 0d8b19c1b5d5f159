/* Included once per mode; see kernels.h. */
#include "kernels/update/update.h"

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

const cot_update_kernels K(cot_update) = {K(adamw), K(sgd), K(apply), K(mix), K(look_ahead), K(sum_squares)};
#undef COT_SQRT
