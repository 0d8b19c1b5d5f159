/* The most multiply-adds that a processor can do: loops over registers alone, and reads and gathers of memory.
 *
 * peak_f32, peak_bf16: `rounds` rounds of independent multiply-adds; returns the FLOPs done (a multiply-add counts
 * two). bf16 is NULL where the processor has no such instruction. read: the sum of `count` floats, so that no read
 * can be left out. */
#ifndef COT_KERNELS_PEAK_H
#define COT_KERNELS_PEAK_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    double (*f32)(int64_t rounds);
    double (*bf16)(int64_t rounds);
    float  (*read)(const float *data, size_t count);
    /* Sums of rows `row[0..rows-1]` of `width` floats (a multiple of 16) out of `table`, fetched ahead. */
    float  (*gather)(const float *table, const int32_t *row, size_t rows, size_t width);
} cot_peak_kernels;

const cot_peak_kernels *cot_peak_kernels_now(void);  /* of the level in force */

extern const cot_peak_kernels cot_peak_ref, cot_peak_avx2, cot_peak_avx512, cot_peak_avx512bf16;

#endif
