/* Bringing experts' rows back to their tokens. Assignments lie in token order: those of token t are first[t] ..
 * first[t + 1] - 1, and assignment a's row is rows[row_of[a], :], or none where row_of[a] < 0 (dropped for lack of
 * capacity): it adds nothing. */
#ifndef COT_KERNELS_COMBINE_H
#define COT_KERNELS_COMBINE_H

#include "kernels/kernels.h"

typedef struct {
    /* out[t, :] = base[t, :] + sum over t's assignments of gate[a] * rows[row_of[a], :], t in [t0, t1); out, base (or
     * NULL) [T, d] and gate [A] real, rows act; out may be base */
    void (*weighted)(int64_t t0, int64_t t1, int64_t d, const int64_t *first, const int32_t *row_of, const void *gate,
                     const void *rows, const void *base, void *out);
    /* out[t, :] (+)= sum over t's assignments of rows[row_of[a], :]; all act, sums real */
    void (*sum)(int64_t t0, int64_t t1, int64_t d, const int64_t *first, const int32_t *row_of, const void *rows,
                void *out, bool accumulate);
    /* by_row[r] = by_assignment[order[r]], r in [r0, r1); real */
    void (*to_rows)(int64_t r0, int64_t r1, const int32_t *order, const void *by_assignment, void *by_row);
    /* by_assignment[a] (+)= by_row[row_of[a]], a in [a0, a1), dropped ones 0; real */
    void (*from_rows)(int64_t a0, int64_t a1, const int32_t *row_of, const void *by_row, void *by_assignment,
                      bool accumulate);
} cot_combine_kernels;

const cot_combine_kernels *cot_combine_kernels_for(cot_mode mode);

#endif
