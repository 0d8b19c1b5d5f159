/* Sums over the assignments of each expert. */
#ifndef COT_OPS_EXPERT_SUM_H
#define COT_OPS_EXPERT_SUM_H

#include "tensor/tape.h"

/* sum [E] real: sum[i] = sum of gate[a] over assignments a with expert[a] = i; gate [A] real, expert [A]. */
cot_tensor *cot_expert_sum(cot_tape *tape, cot_tensor *gate, const int32_t *expert, int64_t experts);

#endif
