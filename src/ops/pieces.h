/* Cutting rows or elements into pieces for threads. Borders depend on the size alone, never on the number of threads. */
#ifndef COT_OPS_PIECES_H
#define COT_OPS_PIECES_H

#include <stdint.h>

#include "base/threads.h"

enum { COT_PIECE_ROWS = 64, COT_PIECE_TOKENS = 128 /* rows of router logits */, COT_PIECE_ELEMENTS = 1 << 15, COT_SUM_PIECES = 16 };

static inline int64_t cot_pieces(int64_t count, int64_t size) { return (count + size - 1) / size; }
static inline int64_t cot_piece_end(int64_t piece, int64_t size, int64_t count)
{
    const int64_t end = (piece + 1) * size;
    return end < count ? end : count;
}
/* Rows of a piece when partial sums are kept for each piece: at most COT_SUM_PIECES pieces of at least COT_PIECE_ROWS rows. */
static inline int64_t cot_sum_piece_rows(int64_t rows)
{
    const int64_t each = cot_pieces(rows, COT_SUM_PIECES);
    return each > COT_PIECE_ROWS ? each : COT_PIECE_ROWS;
}

#endif
