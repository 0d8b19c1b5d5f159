/* How fast the processor multiplies and adds when nothing else holds it up: twelve independent chains in registers, no memory. */
#ifndef COT_KERNELS_PEAK_H
#define COT_KERNELS_PEAK_H

#include <stdint.h>

typedef struct {
    int64_t (*f32)(int64_t rounds);   /* runs so many rounds; returns the additions and multiplications done */
    int64_t (*bf16)(int64_t rounds);  /* the same of bf16 products summed in f32; NULL without such instructions */
} cot_peak_kernels;

const cot_peak_kernels *cot_peak_kernels_now(void);

#endif
