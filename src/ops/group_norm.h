/* Layer norm and root-mean-square norm of groups of columns: each head's query by itself.   [ba2016layer] [zhang2019root]
 *
 * y [T, C] real = (x - mean) / sqrt(mean of squares + eps) * gamma + beta over each of `groups` parts of a row; without beta
 * (NULL) no mean is taken off: the root-mean-square norm. x [T, C], gamma, beta [C] real. */
#ifndef COT_OPS_GROUP_NORM_H
#define COT_OPS_GROUP_NORM_H

#include "tensor/tape.h"

cot_tensor *cot_group_norm(cot_tape *tape, cot_tensor *x, cot_tensor *gamma, cot_tensor *beta, int64_t groups, double eps);

#endif
