/* The squared coefficient of variation.   [shazeer2017outrageously], eq. 7 */
#ifndef COT_OPS_CV_SQUARED_H
#define COT_OPS_CV_SQUARED_H

#include "tensor/tape.h"

/* scale * V / (mu^2 + 1e-10), real scalar; mu and V the mean and population variance of v [n] real. All-zero v gives 0
 * and no gradient. */
cot_tensor *cot_cv_squared(cot_tape *tape, cot_tensor *v, double scale);

#endif
