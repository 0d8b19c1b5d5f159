/* Dropout. */
#ifndef COT_OPS_DROPOUT_H
#define COT_OPS_DROPOUT_H

#include "tensor/tape.h"

/* Each element becomes 0 with probability `rate`, else x / (1 - rate); `stream` (COT_RNG_DROPOUT + place) names the draws. x act or real.
 * Returns x itself when the tape is not training or rate is 0.   [srivastava2014dropout] */
cot_tensor *cot_dropout(cot_tape *tape, cot_tensor *x, double rate, uint32_t stream);

#endif
