/* Entropic optimal transport of tokens to experts.   [sinkhorn1967concerning] */
#ifndef COT_OPS_SINKHORN_H
#define COT_OPS_SINKHORN_H

#include "tensor/tape.h"

/* shift [E]: what makes the plan diag(a) exp(h + shift) have rows of sum 1 / T and columns of sum 1 / E; h [tokens, E] real,
 * rows from .. to - 1 of logits. Alternates rows and columns until no shift changes by more than `tolerance`, at most
 * `iterations` times. Masked entries have no part; a column of nothing else gets 0. Within a row, h + shift ranks as the
 * plan does. Constant. Returns the iterations it took. */
int64_t cot_sinkhorn(cot_tape *tape, const cot_tensor *logits, int64_t from, int64_t to, double tolerance,
                     int64_t iterations, double *shift);

#endif
