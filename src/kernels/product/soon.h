/* Rows of a matrix that will be needed soon, asked for one cache line at a time. Processors drop prefetches that come
 * in bursts (a Zen 4 core keeps some twenty), so whoever computes asks for a line now and then. */
#ifndef COT_KERNELS_PRODUCT_SOON_H
#define COT_KERNELS_PRODUCT_SOON_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char    *data;
    const int32_t *rows;        /* row r lies at rows[r]; NULL: at r */
    size_t         ld, width;   /* bytes: from row to row, and wanted of each */
    int64_t        row, end;    /* the next row, and where to stop */
    const char    *at, *until;  /* what is left of the row at hand */
} cot_soon;

static inline void cot_soon_ask(cot_soon *s)
{
    if (s->at >= s->until) {
        if (s->row >= s->end) return;
        s->at = s->data + (size_t)(s->rows ? s->rows[s->row] : s->row) * s->ld;
        s->until = s->at + s->width;
        s->row++;
    }
    __builtin_prefetch(s->at, 0, 3);
    s->at += 64;
}

#endif
