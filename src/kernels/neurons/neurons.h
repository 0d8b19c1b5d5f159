/* Pools of experts that are one row each: single neurons (rows u that read and v that write; gated
 * ones read by w too) or values (v alone). A token's experts are
 * rows here and there in tables far larger than any cache, so rows are asked for some ahead of their use.
 *
 * T tokens of width D; token t has entries first[t] .. first[t + 1] - 1, entry a goes to row expert[a] with gate[a].
 *
 *   z_a = <u_a, x>, l_a = <w_a, x>      h_a = act(z_a) l_a, act(z_a) without w, 1 without u      y += gate_a h_a v_a
 *
 * Real arrays but for x and dx, which are act, and rows, which may be bf16. Sums run in a token's own order: results do not depend on who does which
 * tokens. */
#ifndef COT_KERNELS_NEURONS_H
#define COT_KERNELS_NEURONS_H

#include "kernels/kernels.h"

typedef enum { COT_NEURON_GELU, COT_NEURON_RELU, COT_NEURON_SILU } cot_neuron_activation;

typedef struct {
    int64_t        width;       /* D */
    const int64_t *first;       /* [T + 1] */
    const int32_t *expert;      /* [A] */
    const void    *gate;        /* [A] */
    const void    *u, *v, *w;   /* [N, D]; u NULL: values; w NULL: no gated form */
    bool           bf16;        /* rows are bf16, else real */
    cot_neuron_activation activation;
} cot_neurons_pool;

/* [A] each: the factors of the rows' gradients, du += scales.u x, dv += scales.v dy, dw += scales.w x; NULL where there is no
 * such table. */
typedef struct {
    void *u, *v, *w;
} cot_neurons_scales;

typedef struct {
    /* y [T, D] += ...; z, l [A] are kept for the way back. x_real [D] is room for a widened token. */
    void (*forward)(int64_t t0, int64_t t1, const cot_neurons_pool *pool, const void *x, void *x_real, void *z, void *l, void *y);
    /* From dy [T, D]: dgate [A] = h <dy, v>; scales.v = gate h; with r = gate <dy, v>: scales.u = act'(z) l r and
     * scales.w = act(z) r; dx [T, D] (+)= sum scales.u u + scales.w w. dgate and dx may be NULL; dx_real [D] is room for a
     * token. */
    void (*backward)(int64_t t0, int64_t t1, const cot_neurons_pool *pool, const void *z, const void *l, const void *dy,
                     void *dgate, const cot_neurons_scales *scales, void *dx_real, void *dx, bool accumulate);
    /* g [D] = sum over i < count of scale[order[i]] * vectors[vector[order[i]], :] */
    void (*row_gradient)(int64_t count, const int32_t *order, const int32_t *vector, const void *scale,
                         const void *vectors, int64_t width, void *g);
} cot_neurons_kernels;

const cot_neurons_kernels *cot_neurons_kernels_for(cot_mode mode);

#endif
