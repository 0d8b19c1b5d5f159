/* Choosing one of E by smooth binary digits.   [hazimeh2021dselect], section 3.1 */
#ifndef COT_OPS_BINARY_CODES_H
#define COT_OPS_BINARY_CODES_H

#include "tensor/tape.h"

/* y [T, E] real: y[t, i] = sum over codes c = i modulo E of the product over digits b of s(z[t, b]) where bit b of c is set and 1
 * - s elsewhere; z [T, m], 2^m >= E > 2^(m - 1). s is the smooth step: 0 up to -gamma / 2, 1 from gamma / 2 on, -2 z^3 /
 * gamma^3 + 3 z / (2 gamma) + 1/2 between. Rows sum to 1. (The paper leaves codes from E on open.) */
cot_tensor *cot_binary_codes(cot_tape *tape, cot_tensor *z, int64_t experts, double gamma);

/* y [T, E] real = sum over s of mix[t, s] * x[t * k + s, :]; mix [T, k], x [T * k, E] real. */
cot_tensor *cot_mix_rows(cot_tape *tape, cot_tensor *mix, cot_tensor *x);

#endif
