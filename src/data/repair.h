/* What becomes of invalid UTF-8: it is refused with file and byte, or replaced. */
#ifndef COT_DATA_REPAIR_H
#define COT_DATA_REPAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/stream.h"

typedef struct {
    bool   replace;
    char  *buffer;
    size_t capacity;
} cot_repair;

/* Checks a text that starts at the stream's first byte at hand, in line `line` (0 = not counted). A repaired text lies
 * in the repair's buffer until the next call. */
cot_status cot_repair_text(cot_repair *repair, const cot_stream *stream, uint64_t line, const char **text,
                           size_t *length);
void       cot_repair_release(cot_repair *repair);

#endif
