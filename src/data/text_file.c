#include "data/text_file.h"

#include <string.h>

#include "base/fail.h"
#include "data/utf8.h"

static const size_t NOWHERE = SIZE_MAX;

static cot_status unpacked_bytes(const char *path, uint64_t *out)
{
    cot_stream stream = {.buffer = NULL};
    cot_status status = cot_stream_open(&stream, path);
    while (status == COT_OK && !stream.ended) {
        cot_stream_skip(&stream, cot_stream_size(&stream));
        status = cot_stream_fill(&stream);
    }
    *out = stream.offset + cot_stream_size(&stream);
    cot_stream_release(&stream);
    return status;
}

cot_status cot_text_file_start(cot_text_file *file, cot_stream *stream, cot_split split, double valid_fraction,
                               uint64_t disk_bytes)
{
    *file = (cot_text_file){.split = split};
    file->whole = valid_fraction == (split == COT_SPLIT_VALID ? 1.0 : 0.0);
    if (file->whole) return COT_OK;
    uint64_t bytes = disk_bytes;
    if (cot_reader_packed(stream->path)) COT_TRY(unpacked_bytes(stream->path, &bytes));
    file->split_from = bytes - (uint64_t)((double)bytes * valid_fraction);
    return COT_OK;
}

/* Where validation text starts, as an index into the bytes at hand; NOWHERE when not among them. */
static size_t find_border(const cot_text_file *file, const cot_stream *stream)
{
    const size_t   size = cot_stream_size(stream);
    const uint64_t from = file->split_from > 0 ? file->split_from - 1 : 0;
    if (file->split_from == 0) return 0;
    if (from >= stream->offset + size) return NOWHERE;
    const size_t skip = from > stream->offset ? (size_t)(from - stream->offset) : 0;
    const char  *data = cot_stream_data(stream), *line_end = memchr(data + skip, '\n', size - skip);
    return line_end ? (size_t)(line_end - data) + 1 : NOWHERE;
}

static bool ink(const char *text, size_t length) { return !cot_utf8_space(text, length); }

/* Where a text of n > 8 bytes may be cut so that pre-tokenizers see no difference: after a line break before ink, else
 * between ink and one blank with ink behind it; failing that, between characters. */
static size_t find_cut(const char *text, size_t n)
{
    for (size_t i = n - 3; i > 0; i--)  /* a blank is at most 3 bytes long */
        if (text[i - 1] == '\n' && ink(text + i, n - i)) return i;
    for (size_t i = n - 4; i > 0; i--)
        if (text[i] == ' ' && (unsigned char)text[i - 1] > ' ' && (unsigned char)text[i - 1] < 0x7f &&
            ink(text + i + 1, n - i - 1))
            return i;
    for (size_t i = n - 1; i > n - 4; i--)
        if (((unsigned char)text[i] & 0xc0) != 0x80) return i;
    return n - 1;
}

/* Moves to the first byte of validation text. */
static cot_status find_start(cot_text_file *file, cot_stream *stream)
{
    for (;;) {
        COT_TRY(cot_stream_fill(stream));
        const size_t border = find_border(file, stream);
        cot_stream_skip(stream, border == NOWHERE ? cot_stream_size(stream) : border);
        if (border != NOWHERE || stream->ended) return COT_OK;
    }
}

cot_status cot_text_file_next(cot_text_file *file, cot_stream *stream, cot_text *out)
{
    out->length = 0;
    if (file->finished) return COT_OK;
    out->begins = !file->inside;
    const bool divided = !file->whole;
    if (divided && file->split == COT_SPLIT_VALID && !file->inside) COT_TRY(find_start(file, stream));
    file->inside = true;
    COT_TRY(cot_stream_fill(stream));
    const size_t size = cot_stream_size(stream);
    const size_t border = divided && file->split == COT_SPLIT_TRAIN ? find_border(file, stream) : NOWHERE;
    file->finished = border != NOWHERE || stream->ended;
    out->text = cot_stream_data(stream);
    out->length = border != NOWHERE ? border : stream->ended ? size : find_cut(out->text, size);
    out->ends = file->finished;
    return COT_OK;
}
