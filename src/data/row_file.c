#include "data/row_file.h"

#include <inttypes.h>
#include <string.h>

#include "base/fail.h"
#include "data/hash.h"
#include "formats/json.h"

enum { MAX_ROW = 64 << 20 };

void cot_row_file_start(cot_row_file *file, cot_split split, double valid_fraction, const char *field,
                        cot_repair *repair)
{
    file->split = split;
    file->valid_fraction = valid_fraction;
    file->field = field;
    file->repair = repair;
    file->line = 0;
}

void cot_row_file_release(cot_row_file *file)
{
    json_decref(file->row);
    *file = (cot_row_file){.row = NULL};
}

/* Finds the next line: its length without the line break, and how far to skip for it. Nothing at hand = the end. */
static cot_status find_line(const cot_row_file *file, cot_stream *stream, size_t *length, size_t *skip)
{
    for (size_t seen = 0;;) {
        const char *data = cot_stream_data(stream);
        const char *line_end = memchr(data + seen, '\n', cot_stream_size(stream) - seen);
        seen = cot_stream_size(stream);
        if (line_end || stream->ended) {
            *length = line_end ? (size_t)(line_end - data) : seen;
            *skip = *length + (line_end != NULL);
            if (*length > 0 && data[*length - 1] == '\r') --*length;
            return COT_OK;
        }
        if (seen >= MAX_ROW)
            return cot_fail(COT_FORMAT, "%s:%" PRIu64 ": the row is longer than %d MiB", stream->path, file->line + 1,
                            MAX_ROW >> 20);
        if (seen == stream->capacity) COT_TRY(cot_stream_grow(stream));
        COT_TRY(cot_stream_fill(stream));
    }
}

static bool blank(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] != ' ' && text[i] != '\t') return false;
    return true;
}

static bool wanted(const cot_row_file *file, const char *row, size_t length)
{
    const double draw = (double)(cot_hash_bytes(row, length) >> 11) * 0x1p-53;  /* in [0, 1) */
    return (draw < file->valid_fraction) == (file->split == COT_SPLIT_VALID);
}

static cot_status parse(cot_row_file *file, const cot_stream *stream, size_t length, cot_text *out)
{
    const char *row = cot_stream_data(stream);
    COT_TRY(cot_repair_text(file->repair, stream, file->line, &row, &length));
    json_decref(file->row);
    json_error_t error;
    file->row = NULL;
    const char *excess = cot_json_excess(row, length);
    if (excess) return cot_fail(COT_FORMAT, "%s:%" PRIu64 ": %s", stream->path, file->line, excess);
    file->row = json_loadb(row, length, JSON_ALLOW_NUL, &error);
    if (!file->row && cot_json_out_of_memory(&error))
        return cot_fail(COT_OUT_OF_MEMORY, "%s:%" PRIu64 ": no memory to parse the row", stream->path, file->line);
    if (!file->row)
        return cot_fail(COT_FORMAT, "%s:%" PRIu64 ": not a JSON object: %s (column %d)", stream->path, file->line,
                        error.text, error.column);
    const json_t *text = json_object_get(file->row, file->field);
    if (!text)
        return cot_fail(COT_FORMAT, "%s:%" PRIu64 ": the row has no field '%s'", stream->path, file->line, file->field);
    if (!json_is_string(text))
        return cot_fail(COT_FORMAT, "%s:%" PRIu64 ": the field '%s' is no text", stream->path, file->line, file->field);
    out->text = json_string_value(text);
    out->length = json_string_length(text);
    return COT_OK;
}

cot_status cot_row_file_next(cot_row_file *file, cot_stream *stream, cot_text *out)
{
    out->begins = out->ends = true;
    out->length = 0;
    for (;;) {
        size_t length = 0, skip = 0;
        COT_TRY(find_line(file, stream, &length, &skip));
        if (skip == 0) return COT_OK;
        file->line++;
        const char *row = cot_stream_data(stream);
        if (!blank(row, length) && wanted(file, row, length)) COT_TRY(parse(file, stream, length, out));
        cot_stream_skip(stream, skip);
        if (out->length > 0) return COT_OK;
    }
}
