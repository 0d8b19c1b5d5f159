#include "ops/top_k_rows.h"

#include <inttypes.h>

#include "kernels/gating/gating.h"
#include "ops/pieces.h"

void cot_top_k_rows(cot_tape *tape, const cot_tensor *logits, int64_t k, int32_t *chosen)
{
    if (cot_tape_failed(tape)) return;
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const cot_gating_kernels *kernels = cot_gating_kernels_for(cot_tape_mode(tape));
    const int64_t experts = cot_tensor_columns(logits), rows = cot_tensor_rows(logits);
    const int64_t pieces = cot_pieces(rows, COT_PIECE_TOKENS);
    int64_t bad = 0;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static) reduction(+ : bad)
    for (int64_t p = 0; p < pieces; p++)
        bad += kernels->top_k(p * COT_PIECE_TOKENS, cot_piece_end(p, COT_PIECE_TOKENS, rows), experts, k, logits->data,
                              chosen);
    if (bad) cot_top_k_fail(tape, bad, rows * experts);
}

void cot_top_k_fail(cot_tape *tape, int64_t bad, int64_t count)
{
    const char *where = cot_tape_where(tape);
    cot_tape_fail(tape, cot_fail(COT_NOT_FINITE, "%s%s%" PRId64 " of %" PRId64 " router logits are NaN or infinite",
                                 where, *where ? ": " : "", bad, count));
}
