/* Product keys: the slots of a table of n^2 are pairs of sub-keys, slot i n + j has the score a_i + b_j, and the k best
 * slots lie among the pairs of the k best of each half.   [lample2019large] */
#ifndef COT_KERNELS_PRODUCT_KEY_H
#define COT_KERNELS_PRODUCT_KEY_H

#include "kernels/kernels.h"

typedef struct {
    /* slot [k] and score [k], best first, ties to the lower slot, of the pairs of ia [k] and ib [k], the best of a [n]
     * and of b [n] (best first, ties to the lower index). Sums are compared in f64. */
    void (*combine)(int64_t n, int64_t k, const void *a, const int32_t *ia, const void *b, const int32_t *ib,
                    int32_t *slot, void *score);
    /* dq [2 half] (+)= sum over entries of ds [k] * (key_i, key_j): what the entries' slots say of a query. */
    void (*back_query)(int64_t n, int64_t half, int64_t k, const int32_t *slot, const void *ds, const void *keys_a,
                       const void *keys_b, void *dq, bool accumulate);
    /* dkey [half] (+)= sum over i < count of ds[order[i]] * query[order[i] / k], queries `ld` apart. */
    void (*back_key)(int64_t count, const int32_t *order, int64_t k, int64_t half, int64_t ld, const void *ds,
                     const void *query, void *dkey, bool accumulate);
} cot_product_key_kernels;

const cot_product_key_kernels *cot_product_key_kernels_for(cot_mode mode);

#endif
