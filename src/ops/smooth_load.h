/* A smooth count of the tokens that each expert receives under noisy top-k gating: the probability that an expert would
 * be among the top k if only its own noise were drawn again.   [shazeer2017outrageously], eq. 8-10 */
#ifndef COT_OPS_SMOOTH_LOAD_H
#define COT_OPS_SMOOTH_LOAD_H

#include "tensor/tape.h"

/* What an expert's own logit must exceed, H being the noisy logits of its token. */
typedef enum {
    /* the k-th largest H of the others: the (k+1)-th of all for a chosen expert, else the k-th */
    COT_THRESHOLD_EXCLUDING,
    COT_THRESHOLD_KTH,        /* the k-th largest H of all, for every expert */
} cot_threshold;

typedef struct {
    int64_t       k;
    cot_threshold threshold;
    bool          threshold_grad;  /* does the gradient flow through the threshold into the entry that supplied it? */
} cot_smooth_load_options;

/* load [E] real: load[i] = sum over t of Phi((clean[t, i] - threshold[t, i]) / std[t, i]); clean, noisy, std [T, E]
 * real. With k >= E every expert receives every token: load = T, without gradient. Masked experts receive nothing. */
cot_tensor *cot_smooth_load(cot_tape *tape, cot_tensor *clean, cot_tensor *noisy, cot_tensor *std,
                            const cot_smooth_load_options *options);

#endif
