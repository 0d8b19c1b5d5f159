#include "data/stream.h"

#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

enum { FIRST_CAPACITY = 1 << 20 };

cot_status cot_stream_open(cot_stream *stream, const char *path)
{
    if (stream->capacity > FIRST_CAPACITY) cot_stream_release(stream);  /* an earlier file had a long row */
    if (!stream->buffer) {
        stream->buffer = cot_malloc(FIRST_CAPACITY);
        if (!stream->buffer) return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to read it", path);
        stream->capacity = FIRST_CAPACITY;
    }
    stream->path = path;
    stream->start = stream->end = 0;
    stream->offset = 0;
    stream->ended = false;
    return cot_reader_open(path, &stream->reader);
}

void cot_stream_close(cot_stream *stream)
{
    cot_reader_close(stream->reader);
    stream->reader = NULL;
}

void cot_stream_release(cot_stream *stream)
{
    cot_stream_close(stream);
    cot_free(stream->buffer);
    stream->buffer = NULL;
    stream->capacity = 0;
}

cot_status cot_stream_fill(cot_stream *stream)
{
    const size_t kept = cot_stream_size(stream);
    if (stream->start > 0) memmove(stream->buffer, cot_stream_data(stream), kept);
    stream->start = 0;
    stream->end = kept;
    if (stream->ended || kept == stream->capacity) return COT_OK;
    size_t got;
    COT_TRY(cot_reader_read(stream->reader, stream->buffer + kept, stream->capacity - kept, &got));
    stream->end += got;
    stream->ended = stream->end < stream->capacity;
    return COT_OK;
}

cot_status cot_stream_grow(cot_stream *stream)
{
    char *grown = cot_realloc(stream->buffer, stream->capacity, 2 * stream->capacity);
    if (!grown)
        return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for a row of %zu bytes", stream->path, stream->capacity);
    stream->buffer = grown;
    stream->capacity *= 2;
    return COT_OK;
}
