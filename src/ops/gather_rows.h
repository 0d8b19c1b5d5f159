/* Some rows of a matrix. */
#ifndef COT_OPS_GATHER_ROWS_H
#define COT_OPS_GATHER_ROWS_H

#include "tensor/tape.h"

/* y [count, columns] = x[rows[i], from .. from + columns - 1]; x [T, d] f32 or f64. `rows` is kept until
 * the reset. */
cot_tensor *cot_gather_rows(cot_tape *tape, cot_tensor *x, const int32_t *rows, int64_t count, int64_t from,
                            int64_t columns);

#endif
