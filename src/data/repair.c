#include "data/repair.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/utf8.h"

static cot_status refuse(const cot_stream *stream, uint64_t line, uint64_t offset, unsigned byte)
{
    char place[24] = "";
    if (line > 0) snprintf(place, sizeof place, ":%" PRIu64, line);
    return cot_fail(COT_FORMAT, "%s%s: invalid UTF-8 at byte %" PRIu64 "%s (0x%02x); 'invalid: replace' accepts it",
                    stream->path, place, offset, cot_reader_packed(stream->path) ? " of the unpacked file" : "", byte);
}

static bool reserve(cot_repair *repair, size_t bytes)
{
    if (repair->capacity >= bytes) return true;
    cot_repair_release(repair);
    repair->buffer = cot_malloc(bytes);
    repair->capacity = repair->buffer ? bytes : 0;
    return repair->buffer != NULL;
}

cot_status cot_repair_text(cot_repair *repair, const cot_stream *stream, uint64_t line, const char **text,
                           size_t *length)
{
    const size_t valid = cot_utf8_valid(*text, *length);
    if (valid == *length) return COT_OK;
    if (!repair->replace) return refuse(stream, line, stream->offset + valid, (unsigned char)(*text)[valid]);
    if (!reserve(repair, 3 * *length))
        return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to replace invalid UTF-8 in %zu bytes", stream->path,
                        *length);
    *length = cot_utf8_replace(*text, *length, repair->buffer);
    *text = repair->buffer;
    return COT_OK;
}

void cot_repair_release(cot_repair *repair)
{
    cot_free(repair->buffer);
    repair->buffer = NULL;
    repair->capacity = 0;
}
