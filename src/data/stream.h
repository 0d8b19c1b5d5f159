/* A window onto a file's (unpacked) bytes that moves forward: what texts and rows are cut from. */
#ifndef COT_DATA_STREAM_H
#define COT_DATA_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/reader.h"

typedef struct {
    const char *path;  /* borrowed */
    cot_reader *reader;
    char       *buffer;
    size_t      capacity;
    size_t      start, end;  /* the bytes at hand: buffer[start .. end) */
    uint64_t    offset;      /* of buffer[start] in the file */
    bool        ended;       /* nothing comes after buffer[end - 1] */
} cot_stream;

cot_status cot_stream_open(cot_stream *stream, const char *path);  /* keeps an earlier file's buffer of 1 MiB */
void       cot_stream_close(cot_stream *stream);                   /* closes the file */
void       cot_stream_release(cot_stream *stream);                 /* and frees the buffer */

cot_status cot_stream_fill(cot_stream *stream); /* moves what is at hand to the front, reads on behind it */
cot_status cot_stream_grow(cot_stream *stream);                    /* doubles the buffer */

static inline size_t      cot_stream_size(const cot_stream *stream) { return stream->end - stream->start; }
static inline const char *cot_stream_data(const cot_stream *stream) { return stream->buffer + stream->start; }
static inline void        cot_stream_skip(cot_stream *stream, size_t bytes)
{
    stream->start += bytes;
    stream->offset += bytes;
}

#endif
