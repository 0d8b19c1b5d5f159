/* The gradients of tables of which a step touches few rows (pools of single neurons, memories). They are never formed: an
 * entry says that scale * vector belongs to a row, vectors are tokens or their gradients, and whoever updates the table
 * makes one row at a time. Micro-batches append.
 *
 * A pool has one list for its one to three tables (terms), whose entries share rows and the number of the vector: rows that
 * read a token (terms 0 and 2) have tokens as vectors, rows that write (term 1) have gradients. */
#ifndef COT_TENSOR_ROW_GRADS_H
#define COT_TENSOR_ROW_GRADS_H

#include <stdbool.h>
#include <stdint.h>

#include <coterie/status.h>

#include "tensor/dtype.h"

enum { COT_ROW_READS, COT_ROW_WRITES, COT_ROW_READS_TOO, COT_ROW_TERMS };

typedef struct cot_row_grads {
    cot_dtype real;
    int64_t   width;                   /* of a vector */
    int64_t   count, capacity;         /* entries */
    int32_t  *row, *vector;            /* [count] */
    void     *scale[COT_ROW_TERMS];    /* [count] real */
    int64_t   vectors, vector_capacity;
    void     *data[2];                 /* [vectors, width] real: tokens, gradients */

    /* Made by cot_row_grads_sort(): touched row i is touched[i], by entries order[start[i]] .. order[start[i + 1] - 1],
     * in the order in which they came. */
    bool      sorted;
    int64_t   touched_count;
    int32_t  *touched, *order;
    int64_t  *start;
    int32_t  *spare;                   /* room for sorting */
} cot_row_grads;

cot_status cot_row_grads_create(cot_dtype real, int64_t width, cot_row_grads **out);
void       cot_row_grads_destroy(cot_row_grads *grads);  /* accepts NULL */
void       cot_row_grads_clear(cot_row_grads *grads);    /* keeps the memory */

/* Room for `entries` more entries and `vectors` more vectors, counted at once: the caller fills row, vector, scale and data
 * from the former counts on. Errors: COT_OUT_OF_MEMORY, with nothing changed. */
cot_status cot_row_grads_append(cot_row_grads *grads, int64_t entries, int64_t vectors);

static inline const void *cot_row_grads_vectors(const cot_row_grads *grads, int term) { return grads->data[term == COT_ROW_WRITES]; }

/* Sorts entries by row (stable); does nothing when they are sorted. */
void cot_row_grads_sort(cot_row_grads *grads);

#endif
