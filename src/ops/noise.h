/* The noise of noisy top-k gating.   [shazeer2017outrageously], eq. 4 */
#ifndef COT_OPS_NOISE_H
#define COT_OPS_NOISE_H

#include "tensor/tape.h"

/* std real = softplus(raw) + offset, element by element; raw real of any shape. */
cot_tensor *cot_softplus(cot_tape *tape, cot_tensor *raw, double offset);

/* noisy real = clean + noise * std; noise real of the same shape, constant. Minus infinity in clean stays. */
cot_tensor *cot_add_noise(cot_tape *tape, cot_tensor *clean, cot_tensor *std, const void *noise);

#endif
