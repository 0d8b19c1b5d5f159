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

static inline int32_t K(normed)(const cot_head_norm_shape *s)
{
    return s->q_groups * s->q_dim + s->k_groups * s->k_dim;
}

static void K(norm_groups)(int32_t groups, int32_t dim, const act *x, const real *w, double eps, act *y, real *rstd)
{
    for (int32_t g = 0; g < groups; g++) rstd[g] = K(norm_head)(dim, x + g * dim, w, eps, y + g * dim);
}

static void K(head_norm_forward)(int64_t r0, int64_t r1, const cot_head_norm_shape *s, const void *x_,
                                 const void *q_weight, const void *k_weight, double eps, void *y_, void *rstd_)
{
    const int32_t queries = s->q_groups * s->q_dim, normed = K(normed)(s);
    for (int64_t r = r0; r < r1; r++) {
        const act *x = (const act *)x_ + r * (normed + s->values);
        act *y = (act *)y_ + r * (normed + s->values);
        real *rstd = (real *)rstd_ + r * (s->q_groups + s->k_groups);
        K(norm_groups)(s->q_groups, s->q_dim, x, q_weight, eps, y, rstd);
        K(norm_groups)(s->k_groups, s->k_dim, x + queries, k_weight, eps, y + queries, rstd + s->q_groups);
        memcpy(y + normed, x + normed, (size_t)s->values * sizeof *y);
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

/* Going back through the groups of one kind; dx or dw may be NULL. */
static void K(groups_back)(bool accumulate, int32_t groups, int32_t dim, const act *x, const real *w, const real *rstd,
                           const act *dy, act *dx, real *dw)
{
    for (int32_t g = 0; g < groups; g++) {
        const act *xg = x + g * dim, *dyg = dy + g * dim;
        if (dw) {
#pragma omp simd
            for (int32_t i = 0; i < dim; i++) dw[i] += LOAD(dyg[i]) * (LOAD(xg[i]) * rstd[g]);
        }
        if (dx) K(head_back)(accumulate, dim, xg, w, rstd[g], dyg, dx + g * dim);
    }
}

static void K(head_norm_backward)(int64_t r0, int64_t r1, const cot_head_norm_shape *s, const void *x_,
                                  const void *q_weight, const void *k_weight, const void *rstd_, const void *dy_,
                                  void *dx_, bool accumulate, void *q_grad, void *k_grad)
{
    const int32_t queries = s->q_groups * s->q_dim, normed = K(normed)(s), width = normed + s->values;
    for (int64_t r = r0; r < r1; r++) {
        const act *x = (const act *)x_ + r * width, *dy = (const act *)dy_ + r * width;
        act *dx = dx_ ? (act *)dx_ + r * width : NULL;
        const real *rstd = (const real *)rstd_ + r * (s->q_groups + s->k_groups);
        K(groups_back)(accumulate, s->q_groups, s->q_dim, x, q_weight, rstd, dy, dx, q_grad);
        K(groups_back)(accumulate, s->k_groups, s->k_dim, x + queries, k_weight, rstd + s->q_groups, dy + queries,
                       dx ? dx + queries : NULL, k_grad);
        if (!dx) continue;
#pragma omp simd
        for (int32_t i = normed; i < width; i++) K(head_put)(accumulate, dx + i, LOAD(dy[i]));
    }
}

const cot_head_norm_kernels K(cot_head_norm) = {K(head_norm_forward), K(head_norm_backward)};
