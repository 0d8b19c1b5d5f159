#define PEAK_BYTES 64
#define PEAK_SUMS 24
#define PEAK_WIDE_REGISTERS
#include "kernels/peak/peak_body.h"

const cot_peak_kernels cot_peak_avx512 = {peak_f32, NULL, peak_read, peak_gather};
