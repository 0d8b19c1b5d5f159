#define PEAK_BYTES 64
#include "kernels/peak/peak_body.h"

const cot_peak_kernels cot_peak_avx512 = {peak_f32, NULL, peak_read, peak_gather};
