/* Arrays that grow by half of their size, and texts put together in one. */
#ifndef COT_DATA_TOKENIZERS_GROWING_H
#define COT_DATA_TOKENIZERS_GROWING_H

#include <stdbool.h>
#include <string.h>

#include "base/memory.h"

/* `array` with room for at least `need` elements, NULL (and `array` as it was) when memory is short. */
static inline void *cot_grown(void *array, size_t *capacity, size_t need, size_t element_size)
{
    if (need <= *capacity) return array;
    size_t wanted = *capacity + *capacity / 2, bytes;
    if (wanted < need) wanted = need;
    if (wanted < 64) wanted = 64;
    if (!cot_size_mul(wanted, element_size, &bytes)) return NULL;
    void *grown = cot_realloc(array, *capacity * element_size, bytes);
    if (grown) *capacity = wanted;
    return grown;
}

typedef struct {
    char  *bytes;
    size_t length, capacity;
    size_t limit;  /* of length, for those who heed one */
} cot_buffer;  /* all zero is an empty one; bytes are freed with cot_free() */

static inline bool cot_buffer_reserve(cot_buffer *buffer, size_t more)
{
    if (buffer->capacity - buffer->length >= more) return true;
    char *bytes = cot_grown(buffer->bytes, &buffer->capacity, buffer->length + more, 1);
    if (bytes) buffer->bytes = bytes;
    return bytes;
}

static inline bool cot_buffer_add(cot_buffer *buffer, const char *bytes, size_t length)
{
    if (!cot_buffer_reserve(buffer, length)) return false;
    if (length) memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
    return true;
}

#endif
