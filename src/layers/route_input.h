/* What a pass tells a router. */
#ifndef COT_LAYERS_ROUTE_INPUT_H
#define COT_LAYERS_ROUTE_INPUT_H

#include "layers/feed_forward.h"
#include "routers/router.h"

/* The router's input for the tokens x [T, D] of a pass; what it adds lives in the tape's arena. */
cot_route_input cot_route_input_make(cot_tape *tape, const cot_pass *pass, cot_tensor *x);

#endif
