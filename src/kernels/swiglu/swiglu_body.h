/* Included once per mode; see kernels.h. With s = 1 / (1 + e^-g): silu = g s, silu' = s (1 + g (1 - s)). */
#include "kernels/swiglu/swiglu.h"

static void K(forward)(int64_t r0, int64_t r1, int64_t F, const void *gu_, void *h_)
{
    for (int64_t r = r0; r < r1; r++) {
        const act *g = (const act *)gu_ + r * 2 * F, *u = g + F;
        act *h = (act *)h_ + r * F;
#pragma omp simd
        for (int64_t i = 0; i < F; i++) {
            const real gate = LOAD(g[i]);
            h[i] = STORE(gate / (1 + EXP(-gate)) * LOAD(u[i]));
        }
    }
}

static void K(backward)(int64_t r0, int64_t r1, int64_t F, const void *gu_, const void *dh_, void *dgu_)
{
    for (int64_t r = r0; r < r1; r++) {
        const act *gu = (const act *)gu_ + r * 2 * F, *dh = (const act *)dh_ + r * F;
        act *dgu = (act *)dgu_ + r * 2 * F;
#pragma omp simd
        for (int64_t i = 0; i < F; i++) {
            const real g = LOAD(gu[i]), u = LOAD(gu[F + i]), d = LOAD(dh[i]), s = 1 / (1 + EXP(-g));
            dgu[i] = STORE(d * u * s * (1 + g * (1 - s)));
            dgu[F + i] = STORE(d * g * s);
        }
    }
}

static void K(backward_weighted)(int64_t r0, int64_t r1, int64_t F, const void *gu_, const void *dh_, const void *gate_,
                                 void *dgu_, void *h_weighted_, void *dgate_)
{
    for (int64_t r = r0; r < r1; r++) {
        const act *gu = (const act *)gu_ + r * 2 * F, *dh = (const act *)dh_ + r * F;
        const real gate = ((const real *)gate_)[r];
        act *dgu = (act *)dgu_ + r * 2 * F, *h_weighted = (act *)h_weighted_ + r * F;
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < F; i++) {
            const real g = LOAD(gu[i]), u = LOAD(gu[F + i]), d = LOAD(dh[i]), s = 1 / (1 + EXP(-g));
            const real h = g * s * u, weighted = gate * d;
            sum += d * h;
            dgu[i] = STORE(weighted * u * s * (1 + g * (1 - s)));
            dgu[F + i] = STORE(weighted * g * s);
            h_weighted[i] = STORE(gate * h);
        }
        ((real *)dgate_)[r] = sum;
    }
}

const cot_swiglu_kernels K(cot_swiglu) = {K(forward), K(backward), K(backward_weighted)};
