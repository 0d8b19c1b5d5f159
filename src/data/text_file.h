/* One text file as the pieces of one document per split. */
#ifndef COT_DATA_TEXT_FILE_H
#define COT_DATA_TEXT_FILE_H

#include <coterie/data.h>

#include "data/stream.h"

typedef struct {
    cot_split split;
    bool      whole;       /* the file is not divided: all of it belongs to the split */
    bool      inside;      /* a piece was given out, or validation text: its start was found */
    bool      finished;
    uint64_t  split_from;  /* validation text starts after the first line break at this byte - 1 or later */
} cot_text_file;

/* Prepares the file that `stream` has just opened. */
cot_status cot_text_file_start(cot_text_file *file, cot_stream *stream, cot_split split, double valid_fraction,
                               uint64_t disk_bytes);

/* Sets out's text, length (0 = no more), begins and ends; the bytes are not checked yet and lie in the stream's buffer.
 * Call cot_stream_skip(stream, out->length) when done with them. */
cot_status cot_text_file_next(cot_text_file *file, cot_stream *stream, cot_text *out);

#endif
