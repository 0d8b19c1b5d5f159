/* How a kernel is written once and built for every mode and instruction set.
 *
 * <op>.h           the contract: argument meaning, shapes, and `typedef struct {...} cot_<op>_kernels;` of function pointers.
 *                  `real` and `act` arrays are void pointers there; a mode (tape.h) says what they hold.
 * <op>_body.h      the source. It uses `real`, `act`, LOAD(act_value) -> real, STORE(real_value) -> act, EXP, and K(name) for its names; it
 *                  ends with `const cot_<op>_kernels K(cot_<op>) = {...};`. Plain C in loops that a compiler can vectorise
 *                  (`#pragma omp simd`), or intrinsics under `#if COT_ISA_LEVEL >= 2`.
 * <op>_ref.c, <op>_avx2.c, <op>_avx512.c
 *                  three lines each: COT_ISA, COT_BODY, #include "kernels/instantiate.h". The build takes the flags from the suffix.
 *                  ref covers f64, f32 and bf16; the others f32 and bf16.
 * <op>.c           COT_KERNELS_DEFINE(<op>): picks by mode and cot_cpu().
 *
 * Kernels have no allocation, threads, state or errors. A row range [r0, r1) lets the caller split the work. */
#ifndef COT_KERNELS_KERNELS_H
#define COT_KERNELS_KERNELS_H

#include "base/cpu.h"
#include "tensor/tape.h"

#if defined(__x86_64__)
#define COT_KERNELS_DEFINE(op)                                                                                          \
    extern const cot_##op##_kernels cot_##op##_f64_ref, cot_##op##_f32_ref, cot_##op##_bf16_ref, cot_##op##_f32_avx2,    \
        cot_##op##_bf16_avx2, cot_##op##_f32_avx512, cot_##op##_bf16_avx512;                                            \
    const cot_##op##_kernels *cot_##op##_kernels_for(cot_mode mode)                                                     \
    {                                                                                                                   \
        const cot_cpu_level cpu = cot_cpu();                                                                            \
        if (mode == COT_MODE_F64) return &cot_##op##_f64_ref;                                                           \
        if (mode == COT_MODE_F32)                                                                                       \
            return cpu >= COT_CPU_AVX512 ? &cot_##op##_f32_avx512                                                       \
                   : cpu >= COT_CPU_AVX2 ? &cot_##op##_f32_avx2 : &cot_##op##_f32_ref;                                  \
        return cpu >= COT_CPU_AVX512 ? &cot_##op##_bf16_avx512                                                          \
               : cpu >= COT_CPU_AVX2 ? &cot_##op##_bf16_avx2 : &cot_##op##_bf16_ref;                                    \
    }
#else
#define COT_KERNELS_DEFINE(op)                                                                                          \
    extern const cot_##op##_kernels cot_##op##_f64_ref, cot_##op##_f32_ref, cot_##op##_bf16_ref;                         \
    const cot_##op##_kernels *cot_##op##_kernels_for(cot_mode mode)                                                     \
    {                                                                                                                   \
        return mode == COT_MODE_F64 ? &cot_##op##_f64_ref : mode == COT_MODE_F32 ? &cot_##op##_f32_ref : &cot_##op##_bf16_ref; \
    }
#endif

#endif
