/* How far two predictions of the same tokens are apart. */
#ifndef COT_OPS_SYMMETRIC_KL_H
#define COT_OPS_SYMMETRIC_KL_H

#include "tensor/tape.h"

/* A real scalar: weight * sum over rows with target >= 0 of (KL(P || Q) + KL(Q || P)) / 2, P and Q the softmaxes of the rows of a and
 * b [T, V] real, finite. target [T] is kept until the reset. */
cot_tensor *cot_symmetric_kl(cot_tape *tape, cot_tensor *a, cot_tensor *b, const int32_t *target, double weight);

#endif
