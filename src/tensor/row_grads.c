#include "tensor/row_grads.h"

#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

cot_status cot_row_grads_create(cot_dtype real, int64_t width, cot_row_grads **out)
{
    *out = cot_calloc(sizeof **out);
    if (!*out) return cot_fail(COT_OUT_OF_MEMORY, "no memory for gradients of rows");
    (*out)->real = real;
    (*out)->width = width;
    return COT_OK;
}

void cot_row_grads_destroy(cot_row_grads *g)
{
    if (!g) return;
    void *all[] = {g->row, g->vector, g->scale[0], g->scale[1], g->scale[2], g->data[0], g->data[1],
                   g->touched, g->order, g->start, g->spare, g};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cot_free(all[i]);
}

void cot_row_grads_clear(cot_row_grads *g)
{
    g->count = g->vectors = g->touched_count = 0;
    g->sorted = false;
}

/* *array of `used` elements moves to room for `wanted`. */
static bool grow(void *array, size_t size, int64_t used, int64_t wanted)
{
    void **place = array, *larger = cot_malloc((size_t)wanted * size);
    if (!larger) return false;
    if (used > 0) memcpy(larger, *place, (size_t)used * size);
    cot_free(*place);
    *place = larger;
    return true;
}

static bool grow_entries(cot_row_grads *g, int64_t wanted)
{
    const size_t real = cot_dtype_size(g->real);
    bool done = grow(&g->row, sizeof *g->row, g->count, wanted) && grow(&g->vector, sizeof *g->vector, g->count, wanted) &&
                grow(&g->touched, sizeof *g->touched, 0, wanted) && grow(&g->order, sizeof *g->order, 0, wanted) &&
                grow(&g->spare, sizeof *g->spare, 0, wanted) && grow(&g->start, sizeof *g->start, 0, wanted + 1);
    for (int i = 0; done && i < COT_ROW_TERMS; i++) done = grow(&g->scale[i], real, g->count, wanted);
    if (done) g->capacity = wanted;
    return done;
}

static bool grow_vectors(cot_row_grads *g, int64_t wanted)
{
    const size_t row = (size_t)g->width * cot_dtype_size(g->real);
    bool done = true;
    for (int i = 0; done && i < 2; i++) done = grow(&g->data[i], row, g->vectors, wanted);
    if (done) g->vector_capacity = wanted;
    return done;
}

cot_status cot_row_grads_append(cot_row_grads *g, int64_t entries, int64_t vectors)
{
    const int64_t count = g->count + entries, rows = g->vectors + vectors;
    const bool room = (count <= g->capacity || grow_entries(g, count)) &&
                      (rows <= g->vector_capacity || grow_vectors(g, rows));
    if (!room) return cot_fail(COT_OUT_OF_MEMORY, "no memory for the gradients of %lld rows", (long long)count);
    g->count = count;
    g->vectors = rows;
    g->sorted = false;
    return COT_OK;
}

/* One pass of a radix sort: from `from` to `to`, by a digit of the row. */
static void sort_by_digit(const cot_row_grads *g, int shift, const int32_t *from, int32_t *to)
{
    int64_t place[DIGITS] = {0}, sum = 0;
    for (int64_t i = 0; i < g->count; i++) place[(uint32_t)g->row[i] >> shift & (DIGITS - 1)]++;
    for (int d = 0; d < DIGITS; d++) {
        const int64_t here = place[d];
        place[d] = sum;
        sum += here;
    }
    for (int64_t i = 0; i < g->count; i++) to[place[(uint32_t)g->row[from[i]] >> shift & (DIGITS - 1)]++] = from[i];
}

static void sort_entries(cot_row_grads *g)
{
    uint32_t largest = 0;
    for (int64_t i = 0; i < g->count; i++) {
        g->order[i] = (int32_t)i;
        if ((uint32_t)g->row[i] > largest) largest = (uint32_t)g->row[i];
    }
    for (int shift = 0; shift < 32 && largest >> shift; shift += DIGIT_BITS) {
        sort_by_digit(g, shift, g->order, g->spare);
        int32_t *const sorted = g->spare;
        g->spare = g->order;
        g->order = sorted;
    }
}

void cot_row_grads_sort(cot_row_grads *g)
{
    if (g->sorted) return;
    g->sorted = true;
    g->touched_count = 0;
    if (g->count == 0) return;
    sort_entries(g);
    for (int64_t i = 0; i < g->count; i++) {
        const int32_t row = g->row[g->order[i]];
        if (i > 0 && row == g->touched[g->touched_count - 1]) continue;
        g->touched[g->touched_count] = row;
        g->start[g->touched_count++] = i;
    }
    g->start[g->touched_count] = g->count;
}
