#define PEAK_BYTES 16
#include "kernels/peak/peak_body.h"

const cot_peak_kernels cot_peak_ref = {peak_f32, NULL, peak_read, peak_gather};
