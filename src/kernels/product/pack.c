/* Packing, picked by mode and processor. One set more than usual: with the processor's own rounding to bf16. */
#include "kernels/product/pack.h"

#if defined(__x86_64__)

extern const cot_pack_kernels cot_pack_f64_ref, cot_pack_f32_ref, cot_pack_f32_avx2, cot_pack_f32_avx512,
    cot_pack_f32_avx512bf16;
extern const cot_pack_kernels cot_pack_bf16_ref, cot_pack_bf16_avx2, cot_pack_bf16_avx512, cot_pack_bf16_avx512bf16;

const cot_pack_kernels *cot_pack_kernels_for(cot_mode mode)
{
    static const cot_pack_kernels *const f32[] = {&cot_pack_f32_ref, &cot_pack_f32_avx2, &cot_pack_f32_avx512,
                                                  &cot_pack_f32_avx512bf16};
    static const cot_pack_kernels *const bf16[] = {&cot_pack_bf16_ref, &cot_pack_bf16_avx2, &cot_pack_bf16_avx512,
                                                   &cot_pack_bf16_avx512bf16};
    return mode == COT_MODE_F64 ? &cot_pack_f64_ref : (mode == COT_MODE_F32 ? f32 : bf16)[cot_cpu()];
}

#else
COT_KERNELS_DEFINE(pack)
#endif
