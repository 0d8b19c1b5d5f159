/* The text of one split, file by file. */
#include <coterie/data.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/row_file.h"
#include "data/source_files.h"
#include "data/text_file.h"
#include "data/texts.h"

struct cot_texts {
    cot_split               split;
    const cot_data_options *options;
    const cot_source_files *files;
    cot_data_options        own_options;  /* where it was opened by cot_texts_open() */
    cot_source_files        own_files;
    size_t                  next;         /* index of the file after the open one */
    uint64_t                done;         /* bytes of the files closed so far */
    cot_stream              stream;
    size_t                  taken;        /* bytes of the stream that the text given out last occupies */
    cot_text_file           text;
    cot_row_file            rows;
    cot_repair              repair;
};

static bool has_part(const cot_source_file *file, cot_split split)
{
    return file->valid_fraction != (split == COT_SPLIT_VALID ? 0.0 : 1.0);
}

cot_status cot_texts_open_files(const cot_data_options *options, const cot_source_files *files, cot_split split,
                                cot_texts **out)
{
    *out = cot_calloc(sizeof **out);
    if (!*out) return cot_fail(COT_OUT_OF_MEMORY, "no memory to read the corpus");
    (*out)->split = split;
    (*out)->options = options;
    (*out)->files = files;
    return COT_OK;
}

cot_status cot_texts_open(const cot_config *data, cot_split split, cot_texts **out)
{
    COT_TRY(cot_texts_open_files(NULL, NULL, split, out));
    cot_texts *texts = *out;
    texts->options = &texts->own_options;
    texts->files = &texts->own_files;
    cot_status status = cot_data_options_read(data, &texts->own_options);
    if (status == COT_OK && texts->own_options.random) status = cot_fail(COT_INVALID, "random data have no text");
    if (status == COT_OK) status = cot_source_files_find(&texts->own_options, &texts->own_files);
    if (status == COT_OK) return COT_OK;
    cot_texts_close(texts);
    *out = NULL;
    return status;
}

void cot_texts_close(cot_texts *texts)
{
    if (!texts) return;
    cot_row_file_release(&texts->rows);
    cot_stream_release(&texts->stream);
    cot_repair_release(&texts->repair);
    cot_source_files_release(&texts->own_files);
    cot_data_options_release(&texts->own_options);
    cot_free(texts);
}

void cot_texts_done(const cot_texts *texts, uint64_t *done, uint64_t *total)
{
    *done = texts->done + (texts->stream.reader ? cot_reader_consumed(texts->stream.reader) : 0);
    *total = 0;
    for (size_t i = 0; i < texts->files->count; i++)
        if (has_part(&texts->files->files[i], texts->split)) *total += texts->files->files[i].bytes;
}

static const cot_source_file *open_file(const cot_texts *texts) { return &texts->files->files[texts->next - 1]; }

/* Opens the next file that has something for this split; none left: the stream stays closed. */
static cot_status open_next(cot_texts *texts)
{
    while (texts->next < texts->files->count && !has_part(&texts->files->files[texts->next], texts->split))
        texts->next++;
    if (texts->next == texts->files->count) return COT_OK;
    const cot_source_file *file = &texts->files->files[texts->next++];
    texts->taken = 0;
    texts->repair.replace = texts->options->invalid == COT_INVALID_REPLACE;
    COT_TRY(cot_stream_open(&texts->stream, file->path));
    if (!file->rows)
        return cot_text_file_start(&texts->text, &texts->stream, texts->split, file->valid_fraction, file->bytes);
    cot_row_file_start(&texts->rows, texts->split, file->valid_fraction, texts->options->text_field, &texts->repair);
    return COT_OK;
}

static cot_status next_of_file(cot_texts *texts, cot_text *out)
{
    if (open_file(texts)->rows) return cot_row_file_next(&texts->rows, &texts->stream, out);
    cot_stream_skip(&texts->stream, texts->taken);
    COT_TRY(cot_text_file_next(&texts->text, &texts->stream, out));
    texts->taken = out->length;
    return cot_repair_text(&texts->repair, &texts->stream, 0, &out->text, &out->length);
}

cot_status cot_texts_next(cot_texts *texts, cot_text *out)
{
    for (;;) {
        *out = (cot_text){.source = -1};
        if (!texts->stream.reader) COT_TRY(open_next(texts));
        if (!texts->stream.reader) return COT_OK;
        COT_TRY(next_of_file(texts, out));
        out->source = open_file(texts)->source;
        if (out->length > 0) return COT_OK;
        texts->done += open_file(texts)->bytes;
        cot_stream_close(&texts->stream);
    }
}

cot_status cot_texts_read(void *texts, const char **text, size_t *length)
{
    cot_text piece;
    COT_TRY(cot_texts_next(texts, &piece));
    *text = piece.source < 0 ? NULL : piece.text;
    *length = piece.length;
    return COT_OK;
}
