/* Retrieval by product keys: the k best of n^2 slots for each head of a query, in O(n + k log k) comparisons. Exact: the
 * same slots as a search over all of them, ties to the lower slot.   [lample2019large]; shared sub-keys [he2024mixture]
 *
 * The scores of the slots that were found are differentiable, the choice is not. */
#ifndef COT_OPS_PRODUCT_KEY_H
#define COT_OPS_PRODUCT_KEY_H

#include "tensor/tape.h"

/* query [T, heads * d_q] real, each head's halves one after the other; keys [sets, n, d_q / 2] real with two sets for all
 * heads or two for each. slot [T, heads, k] becomes i n + j, best first. Returns their scores [T * heads, k] real.
 *
 * Errors (the tape's)  COT_SHAPE_MISMATCH where query and keys do not fit; COT_NOT_FINITE for a score that is NaN or plus
 * infinity. */
cot_tensor *cot_product_key(cot_tape *tape, cot_tensor *query, cot_tensor *keys, int64_t heads, int64_t k, int32_t *slot);

/* The same from given scores of sub-keys, [T, heads * 2 * n] real. */
cot_tensor *cot_product_key_from_scores(cot_tape *tape, cot_tensor *scores, int64_t heads, int64_t n, int64_t k,
                                        int32_t *slot);

#endif
