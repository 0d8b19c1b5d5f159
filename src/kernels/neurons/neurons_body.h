/* Included once per mode; see kernels.h. */
#include "kernels/neurons/neurons.h"

#ifndef COT_NEURONS_ONCE
#define COT_NEURONS_ONCE
enum { ROWS_AHEAD = 6, LINE = 64 };

static inline void ask_for(const void *row, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += LINE) __builtin_prefetch((const char *)row + at, 0, 3);
}
#endif

#if COT_IS_F64
#define ERF erf
#else
#define ERF erff
#endif

static inline real K(activate)(cot_neuron_activation kind, real z)
{
    switch (kind) {
    case COT_NEURON_RELU: return z > 0 ? z : 0;
    case COT_NEURON_SILU: return z / (1 + EXP(-z));
    default: return (real)0.5 * z * (1 + ERF(z * (real)0.70710678118654752));
    }
}

static inline real K(slope)(cot_neuron_activation kind, real z)
{
    if (kind == COT_NEURON_RELU) return z > 0;
    if (kind == COT_NEURON_SILU) {
        const real s = 1 / (1 + EXP(-z));
        return s * (1 + z * (1 - s));
    }
    return (real)0.5 * (1 + ERF(z * (real)0.70710678118654752)) + z * (real)0.39894228040143268 * EXP((real)-0.5 * z * z);
}

static inline real K(dot)(int64_t n, const real *restrict a, const real *restrict b)
{
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static inline void K(add_scaled)(int64_t n, real scale, const real *restrict row, real *restrict sum)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) sum[i] += scale * row[i];
}

static inline const real *K(row_at)(const void *table, const cot_neurons_pool *p, int64_t a)
{
    return (const real *)table + (int64_t)p->expert[a] * p->width;
}

/* Walks over a token's rows of a table, asking for what comes. */
#define EACH_ROW(table, a, a0, a1)                                                                                 \
    for (int64_t a = (a0), ask_ = (a0); a < (a1); a++)                                                             \
        for (const real *row = (K(ask_ahead)(table, p, &ask_, a, a1), K(row_at)(table, p, a)); row; row = NULL)

static inline void K(ask_ahead)(const void *table, const cot_neurons_pool *p, int64_t *asked, int64_t a, int64_t a1)
{
    for (; *asked < a1 && *asked <= a + ROWS_AHEAD; ++*asked)
        ask_for(K(row_at)(table, p, *asked), (size_t)p->width * sizeof(real));
}

static void K(forward)(int64_t t0, int64_t t1, const cot_neurons_pool *p, const void *x_, void *x_real, void *z_, void *y_)
{
    const real *gate = p->gate;
    real       *z = z_, *xt = x_real;
    for (int64_t t = t0; t < t1; t++) {
        const int64_t a0 = p->first[t], a1 = p->first[t + 1];
        const act *x = (const act *)x_ + t * p->width;
        real *y = (real *)y_ + t * p->width;
        if (p->u) {
            for (int64_t i = 0; i < p->width; i++) xt[i] = LOAD(x[i]);
            EACH_ROW(p->u, a, a0, a1) z[a] = K(dot)(p->width, row, xt);
        }
        EACH_ROW(p->v, a, a0, a1)
            K(add_scaled)(p->width, p->u ? gate[a] * K(activate)(p->activation, z[a]) : gate[a], row, y);
    }
}

/* What a token's rows of v say of its gates. */
static inline void K(back_gates)(const cot_neurons_pool *p, int64_t a0, int64_t a1, const real *z, const real *dy,
                                 real *dgate, real *scale_u, real *scale_v)
{
    const real *gate = p->gate;
    EACH_ROW(p->v, a, a0, a1) {
        const real r = K(dot)(p->width, row, dy), h = p->u ? K(activate)(p->activation, z[a]) : 1;
        if (dgate) dgate[a] = h * r;
        scale_v[a] = gate[a] * h;
        if (p->u) scale_u[a] = gate[a] * K(slope)(p->activation, z[a]) * r;
    }
}

static void K(backward)(int64_t t0, int64_t t1, const cot_neurons_pool *p, const void *z, const void *dy_, void *dgate,
                        void *scale_u, void *scale_v, void *dx_real, void *dx_, bool accumulate)
{
    real *sum = dx_real;
    for (int64_t t = t0; t < t1; t++) {
        const int64_t a0 = p->first[t], a1 = p->first[t + 1];
        act *dx = dx_ ? (act *)dx_ + t * p->width : NULL;
        K(back_gates)(p, a0, a1, z, (const real *)dy_ + t * p->width, dgate, scale_u, scale_v);
        if (!dx) continue;
        for (int64_t i = 0; i < p->width; i++) sum[i] = accumulate ? LOAD(dx[i]) : 0;
        if (p->u) {
            EACH_ROW(p->u, a, a0, a1) K(add_scaled)(p->width, ((const real *)scale_u)[a], row, sum);
        }
        for (int64_t i = 0; i < p->width; i++) dx[i] = STORE(sum[i]);
    }
}

static void K(row_gradient)(int64_t count, const int32_t *order, const int32_t *vector, const void *scale_,
                            const void *vectors, int64_t width, void *g_)
{
    const real *scale = scale_;
    real       *g = g_;
    for (int64_t i = 0; i < width; i++) g[i] = 0;
    for (int64_t i = 0; i < count; i++)
        K(add_scaled)(width, scale[order[i]], (const real *)vectors + (int64_t)vector[order[i]] * width, g);
}

const cot_neurons_kernels K(cot_neurons) = {K(forward), K(backward), K(row_gradient)};

#undef ERF
#undef EACH_ROW
