/* A .jsonl file: every row is a JSON object, one field of it a document. */
#ifndef COT_DATA_ROW_FILE_H
#define COT_DATA_ROW_FILE_H

#include <jansson.h>

#include <coterie/data.h>

#include "data/repair.h"
#include "data/stream.h"

typedef struct {
    cot_split   split;
    double      valid_fraction;
    const char *field;   /* borrowed */
    cot_repair *repair;  /* borrowed */
    uint64_t    line;    /* of the row at hand, from 1 */
    json_t     *row;     /* owns the text given out last */
} cot_row_file;

void cot_row_file_start(cot_row_file *file, cot_split split, double valid_fraction, const char *field,
                        cot_repair *repair);
void cot_row_file_release(cot_row_file *file);

/* The next row of the split whose text is not empty; length 0 = no more. The text is valid UTF-8. */
cot_status cot_row_file_next(cot_row_file *file, cot_stream *stream, cot_text *out);

#endif
