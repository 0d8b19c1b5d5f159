/* Arrays that grow by half of their size. */
#ifndef COT_DATA_TOKENIZERS_GROWING_H
#define COT_DATA_TOKENIZERS_GROWING_H

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

#endif
