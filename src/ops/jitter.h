/* Multiplicative jitter of a router's input.   [fedus2021switch], section 2.4 */
#ifndef COT_OPS_JITTER_H
#define COT_OPS_JITTER_H

#include "tensor/tape.h"

/* y = x * u, each u uniform in [1 - eps, 1 + eps], drawn from `stream` (COT_RNG_JITTER + layer) by element; x [T, D]
 * act. Returns x itself when the tape is not training or eps is 0. Only the router should see y; experts see x. */
cot_tensor *cot_jitter(cot_tape *tape, cot_tensor *x, double eps, uint32_t stream);

#endif
