/* Batch normalisation of columns: over the rows of a pass while training, by running statistics otherwise.
 * [ioffe2015batch]
 *
 * y [T, C] real = (x - mean) / sqrt(var + eps) * gamma + beta; x [T, C], gamma, beta [C] real. While training, mean and
 * population variance are those of the rows that `skip` ([T] or NULL; 1 = padding) leaves, and gradients flow through
 * them. Skipped rows are normalised too, but nothing depends on them. */
#ifndef COT_OPS_BATCH_NORM_H
#define COT_OPS_BATCH_NORM_H

#include "tensor/tape.h"

/* What a pass saw: rows that counted, their mean and population variance, [C] f64 in the tape's arena. */
typedef struct {
    int64_t       rows;
    const double *mean, *variance;
} cot_batch_moments;

/* running_mean, running_variance [C] real; read unless training with at least one row that counts. seen may be NULL; its
 * rows are 0 where running statistics were used. */
cot_tensor *cot_batch_norm(cot_tape *tape, cot_tensor *x, cot_tensor *gamma, cot_tensor *beta, const uint8_t *skip,
                           const cot_param *running_mean, const cot_param *running_variance, double eps,
                           cot_batch_moments *seen);

#endif
