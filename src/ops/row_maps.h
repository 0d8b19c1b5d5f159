/* Maps of router scores that stay within a row. */
#ifndef COT_OPS_ROW_MAPS_H
#define COT_OPS_ROW_MAPS_H

#include "tensor/tape.h"

/* y real of the shape of x = 1 / (1 + exp(-x)), element by element; minus infinity gives 0. */
cot_tensor *cot_sigmoid(cot_tape *tape, cot_tensor *x);

/* y real of the shape of x = max(x, 0), element by element. */
cot_tensor *cot_relu(cot_tape *tape, cot_tensor *x);

/* y [T, E] real = x / (the row's sum + epsilon); a row whose sum is 0 gives zeros. */
cot_tensor *cot_normalise_rows(cot_tape *tape, cot_tensor *x, double epsilon);

/* x itself with another shape of as many elements, same memory. */
cot_tensor *cot_reshape(cot_tape *tape, cot_tensor *x, int32_t rank, const int64_t *shape);

#endif
