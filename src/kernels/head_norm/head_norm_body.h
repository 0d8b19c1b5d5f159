/* Included once per mode; see kernels.h. */
#include "kernels/head_norm/head_norm.h"

static inline real K(norm_head)(int32_t dim, const act *x, const real *w, double eps, act *y)
{
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int32_t i = 0; i < dim; i++) sum += LOAD(x[i]) * LOAD(x[i]);
    const real scale = (real)1 / (real)sqrt((double)(sum / (real)dim) + eps);
#pragma omp simd
    for (int32_t i = 0; i < dim; i++) y[i] = STORE(w[i] * (LOAD(x[i]) * scale));
    return scale;
}

static void K(head_norm_forward)(int64_t r0, int64_t r1, const cot_head_norm_shape *s, const void *x_,
                                 const void *q_weight, const void *k_weight, double eps, void *y_, void *rstd_)
{
    const int32_t dim = s->dim, heads = s->q_heads + s->kv_heads;
    const int64_t width = (int64_t)(heads + s->kv_heads) * dim;
    for (int64_t r = r0; r < r1; r++) {
        const act *x = (const act *)x_ + r * width;
        act *y = (act *)y_ + r * width;
        real *rstd = (real *)rstd_ + r * heads;
        for (int32_t h = 0; h < heads; h++)
            rstd[h] = K(norm_head)(dim, x + h * dim, h < s->q_heads ? q_weight : k_weight, eps, y + h * dim);
        memcpy(y + heads * dim, x + heads * dim, (size_t)(s->kv_heads * dim) * sizeof *y);
    }
}

/* dx (+)= value; inlined with a constant for `accumulate`. */
static inline void K(head_put)(bool accumulate, act *dx, real value)
{
    *dx = STORE(accumulate ? LOAD(*dx) + value : value);
}

/* dx = scale * (w dy - x * slope) with slope = scale^2 * mean(w dy x). */
static inline void K(head_back)(bool accumulate, int32_t dim, const act *x, const real *w, real scale, const act *dy,
                                act *dx)
{
    real dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int32_t i = 0; i < dim; i++) dot += w[i] * LOAD(dy[i]) * LOAD(x[i]);
    const real slope = dot * scale * scale / (real)dim;
#pragma omp simd
    for (int32_t i = 0; i < dim; i++)
        K(head_put)(accumulate, dx + i, scale * (w[i] * LOAD(dy[i]) - slope * LOAD(x[i])));
}

static void K(head_norm_back_row)(bool accumulate, const cot_head_norm_shape *s, const act *x, const real *q_weight,
                                  const real *k_weight, const real *rstd, const act *dy, act *dx)
{
    const int32_t dim = s->dim, heads = s->q_heads + s->kv_heads;
    for (int32_t h = 0; h < heads; h++) {
        const int32_t at = h * dim;
        K(head_back)(accumulate, dim, x + at, h < s->q_heads ? q_weight : k_weight, rstd[h], dy + at, dx + at);
    }
#pragma omp simd
    for (int32_t i = heads * dim; i < (heads + s->kv_heads) * dim; i++) K(head_put)(accumulate, dx + i, LOAD(dy[i]));
}

static void K(head_norm_backward)(int64_t r0, int64_t r1, const cot_head_norm_shape *s, const void *x_,
                                  const void *q_weight, const void *k_weight, const void *rstd_, const void *dy_,
                                  void *dx, bool accumulate, void *q_grad, void *k_grad)
{
    const int32_t dim = s->dim, heads = s->q_heads + s->kv_heads;
    const int64_t width = (int64_t)(heads + s->kv_heads) * dim;
    for (int64_t r = r0; r < r1; r++) {
        const act *x = (const act *)x_ + r * width, *dy = (const act *)dy_ + r * width;
        const real *rstd = (const real *)rstd_ + r * heads;
        for (int32_t h = 0; h < heads; h++) {
            real *dw = h < s->q_heads ? q_grad : k_grad;
            if (!dw) continue;
#pragma omp simd
            for (int32_t i = 0; i < dim; i++) dw[i] += LOAD(dy[h * dim + i]) * (LOAD(x[h * dim + i]) * rstd[h]);
        }
        if (dx) K(head_norm_back_row)(accumulate, s, x, q_weight, k_weight, rstd, dy, (act *)dx + r * width);
    }
}

const cot_head_norm_kernels K(cot_head_norm) = {K(head_norm_forward), K(head_norm_backward)};
