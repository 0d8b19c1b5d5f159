#include "kernels/peak/peak.h"

#include "base/cpu.h"

const cot_peak_kernels *cot_peak_kernels_now(void)
{
#if defined(__x86_64__)
    static const cot_peak_kernels *const levels[] = {&cot_peak_ref, &cot_peak_avx2, &cot_peak_avx512,
                                                     &cot_peak_avx512bf16};
    return levels[cot_cpu()];
#else
    return &cot_peak_ref;
#endif
}
