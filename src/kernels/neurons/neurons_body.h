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

/* What an expert that reads says before its gate. */
static inline real K(says)(const cot_neurons_pool *p, const real *z, const real *l, int64_t a)
{
    return !p->u ? 1 : K(activate)(p->activation, z[a]) * (p->w ? l[a] : 1);
}

#define ROW real
#define LOAD_ROW(r) (r)
#define R(name) K(name##_real)
#include "kernels/neurons/neurons_rows.h"

#define ROW cot_bf16
#define LOAD_ROW(r) ((real)cot_bf16_to_f32(r))
#define R(name) K(name##_narrow)
#include "kernels/neurons/neurons_rows.h"

static void K(forward)(int64_t t0, int64_t t1, const cot_neurons_pool *p, const void *x, void *x_real, void *z, void *l, void *y)
{
    if (p->bf16) K(forward_narrow)(t0, t1, p, x, x_real, z, l, y);
    else K(forward_real)(t0, t1, p, x, x_real, z, l, y);
}

static void K(backward)(int64_t t0, int64_t t1, const cot_neurons_pool *p, const void *z, const void *l, const void *dy,
                        void *dgate, const cot_neurons_scales *scales, void *dx_real, void *dx, bool accumulate)
{
    if (p->bf16) K(backward_narrow)(t0, t1, p, z, l, dy, dgate, scales, dx_real, dx, accumulate);
    else K(backward_real)(t0, t1, p, z, l, dy, dgate, scales, dx_real, dx, accumulate);
}

static void K(row_gradient)(int64_t count, const int32_t *order, const int32_t *vector, const void *scale_,
                            const void *vectors, int64_t width, void *g_)
{
    const real *scale = scale_;
    real       *g = g_;
    for (int64_t i = 0; i < width; i++) g[i] = 0;
    for (int64_t i = 0; i < count; i++)
        K(add_scaled_real)(width, scale[order[i]], (const real *)vectors + (int64_t)vector[order[i]] * width, g);
}

const cot_neurons_kernels K(cot_neurons) = {K(forward), K(backward), K(row_gradient)};

#undef ERF
