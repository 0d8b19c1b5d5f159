/* Stacks of matrices that are one base and a difference of low rank each. */
#ifndef COT_OPS_LOW_RANK_H
#define COT_OPS_LOW_RANK_H

#include "tensor/tape.h"

/* [E, R, C] real: base + outer[e] inner[e]; base [R, C], outer [E, R, r], inner [E, r, C], all real. Sums in double. */
cot_tensor *cot_low_rank_stack(cot_tape *tape, cot_tensor *base, cot_tensor *outer, cot_tensor *inner);

#endif
