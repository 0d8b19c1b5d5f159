/* Tokenises a corpus into a cache file: one pass over the files for each split. */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/hash.h"
#include "data/texts.h"
#include "data/token_cache.h"
#include "data/utf8.h"
#include "formats/file.h"

typedef struct {
    const cot_cache_key   *key;
    char                  *path;  /* the temporary name */
    size_t                 made;  /* length of the first folder of it that was not there before; 0: all were */
    FILE                  *file;
    cot_hash               hash;
    cot_cache_header       header;
    cot_tokenizer_encoder *encoder;
    cot_document          *documents[COT_SPLITS];
    size_t                 capacity[COT_SPLITS];
    cot_word_count         words;
    cot_data_progress      progress;
    void                  *progress_context;
    uint64_t               progress_before, progress_total;
    size_t                 unreported;  /* bytes of text since the last report */
} cache_writer;

static cot_status put(cache_writer *writer, const void *bytes, size_t count)
{
    if (count == 0) return COT_OK;
    cot_hash_add(&writer->hash, bytes, count);
    if (fwrite(bytes, 1, count, writer->file) == count) return COT_OK;
    return cot_fail(COT_IO, "%s: cannot write: %s", writer->path, strerror(errno));
}

static cot_status put_padding(cache_writer *writer, uint64_t bytes)
{
    return put(writer, "\0\0\0\0\0\0\0", (size_t)(cot_cache_padded(bytes) - bytes));
}

static cot_status put_ids(cache_writer *writer, cot_split split, const int32_t *ids, size_t count)
{
    enum { CHUNK = 4096 };
    uint16_t narrow[CHUNK];
    writer->header.id_count[split] += count;
    if (writer->header.id_bytes == 4) return put(writer, ids, count * sizeof *ids);
    for (size_t done = 0; done < count; done += CHUNK) {
        const size_t n = count - done < CHUNK ? count - done : CHUNK;
        for (size_t i = 0; i < n; i++) narrow[i] = (uint16_t)ids[done + i];
        COT_TRY(put(writer, narrow, n * sizeof *narrow));
    }
    return COT_OK;
}

/* ---- documents ---- */

static cot_status begin_document(cache_writer *writer, cot_split split, int32_t source)
{
    const uint64_t count = writer->header.document_count[split];
    if (count == writer->capacity[split]) {
        const size_t size = sizeof(cot_document), more = count ? 2 * (size_t)count : 64;
        void        *grown = cot_realloc(writer->documents[split], (size_t)count * size, more * size);
        if (!grown) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a list of %zu documents", more);
        writer->documents[split] = grown;
        writer->capacity[split] = more;
    }
    writer->words = (cot_word_count){.words = 0};
    writer->documents[split][count] =
        (cot_document){.start = writer->header.id_count[split], .source = (uint64_t)source};
    writer->header.document_count[split]++;
    return COT_OK;
}

static cot_status add_piece(cache_writer *writer, cot_split split, const cot_text *piece)
{
    const int32_t start = cot_tokenizer_start_of_text(writer->key->tokenizer);
    if (piece->begins) COT_TRY(begin_document(writer, split, piece->source));
    else cot_tokenizer_encoder_go_on(writer->encoder);
    cot_document  *document = &writer->documents[split][writer->header.document_count[split] - 1];
    const int32_t *ids;
    size_t         count;
    if (piece->begins && start >= 0) {
        COT_TRY(put_ids(writer, split, &start, 1));
        document->tokens++;
    }
    COT_TRY(cot_tokenizer_encoder_run(writer->encoder, piece->text, piece->length, false, &ids, &count));
    COT_TRY(put_ids(writer, split, ids, count));
    cot_words_add(&writer->words, piece->text, piece->length);
    document->tokens += count;
    document->bytes += piece->length;
    document->words = writer->words.words;
    const int32_t end = cot_tokenizer_end_of_text(writer->key->tokenizer);
    return piece->ends && writer->header.separated ? put_ids(writer, split, &end, 1) : COT_OK;
}

static cot_status report(cache_writer *writer, const cot_texts *texts, size_t bytes)
{
    writer->unreported += bytes;
    if (!writer->progress || writer->unreported < 1 << 19) return COT_OK;
    writer->unreported = 0;
    uint64_t done, total;
    cot_texts_done(texts, &done, &total);
    if (writer->progress(writer->progress_context, writer->progress_before + done, writer->progress_total))
        return COT_OK;
    return cot_fail(COT_STOPPED, "tokenising was stopped");
}

static cot_status add_texts(cache_writer *writer, cot_split split, cot_texts *texts)
{
    for (;;) {
        cot_text piece;
        COT_TRY(cot_texts_next(texts, &piece));
        if (piece.source < 0) break;
        COT_TRY(add_piece(writer, split, &piece));
        COT_TRY(report(writer, texts, piece.length));
    }
    return put_padding(writer, writer->header.id_count[split] * writer->header.id_bytes);
}

static cot_status add_splits(cache_writer *writer)
{
    cot_texts *texts[COT_SPLITS] = {NULL, NULL};
    cot_status status = COT_OK;
    for (int s = 0; status == COT_OK && s < COT_SPLITS; s++) {
        uint64_t done, total = 0;
        status = cot_texts_open_files(writer->key->options, writer->key->files, s, &texts[s]);
        if (status == COT_OK) cot_texts_done(texts[s], &done, &total);
        writer->progress_total += total;
    }
    for (int s = 0; status == COT_OK && s < COT_SPLITS; s++) {
        uint64_t total;
        status = add_texts(writer, s, texts[s]);
        cot_texts_done(texts[s], &writer->progress_before, &total);
    }
    for (int s = 0; s < COT_SPLITS; s++) cot_texts_close(texts[s]);
    return status;
}

/* ---- the file ---- */

static cot_status add_stamps(cache_writer *writer)
{
    const cot_source_files *files = writer->key->files;
    for (size_t i = 0; i < files->count; i++) {
        const cot_source_file *file = &files->files[i];
        cot_file_stamp         stamp = {.bytes = file->bytes, .mtime_ns = file->mtime_ns};
        COT_TRY(cot_file_hash(file->path, &stamp.hash));
        if (!cot_source_file_same(file))
            return cot_fail(COT_IO, "%s: changed while it was read; try again", file->path);
        COT_TRY(put(writer, &stamp, sizeof stamp));
    }
    return COT_OK;
}

static cot_status write_body(cache_writer *writer)
{
    COT_TRY(cot_tokenizer_encoder_create(writer->key->tokenizer, &writer->encoder));
    COT_TRY(add_splits(writer));
    if (writer->header.document_count[0] + writer->header.document_count[1] == 0)
        return cot_fail(COT_INVALID, "%s: the corpus is empty, expected text", writer->key->files->files[0].path);
    for (int s = 0; s < COT_SPLITS; s++)
        COT_TRY(put(writer, writer->documents[s], (size_t)writer->header.document_count[s] * sizeof(cot_document)));
    return add_stamps(writer);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void start_header(cache_writer *writer)
{
    const cot_cache_key *key = writer->key;
    const int32_t        vocabulary = cot_tokenizer_vocab_size(key->tokenizer);
    writer->header = (cot_cache_header){.magic = COT_CACHE_MAGIC, .identity = key->identity, .written_ns = now_ns()};
    writer->header.vocabulary = (uint64_t)vocabulary;
    writer->header.id_bytes = vocabulary > UINT16_MAX + 1 ? 4 : 2;
    writer->header.separated = cot_tokenizer_end_of_text(key->tokenizer) >= 0;
    writer->header.file_count = key->files->count;
    cot_hash_start(&writer->hash);
}

static cot_status fill_file(cache_writer *writer)
{
    const cot_cache_header room = {.magic = 0};
    start_header(writer);
    if (fwrite(&room, sizeof room, 1, writer->file) != 1)
        return cot_fail(COT_IO, "%s: cannot write: %s", writer->path, strerror(errno));
    COT_TRY(write_body(writer));
    writer->header.body_hash = cot_hash_end(&writer->hash);
    writer->header.header_hash = cot_cache_header_hash(&writer->header);
    const bool ok = fseek(writer->file, 0, SEEK_SET) == 0 &&
                    fwrite(&writer->header, sizeof writer->header, 1, writer->file) == 1 && fflush(writer->file) == 0 &&
                    fsync(fileno(writer->file)) == 0;
    return ok ? COT_OK : cot_fail(COT_IO, "%s: cannot write: %s", writer->path, strerror(errno));
}

/* Makes the folders of a path and remembers the first that was not there. */
static cot_status make_folders(cache_writer *writer, const char *path)
{
    char folder[4096];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        const bool made = mkdir(folder, 0777) == 0;
        if (made && !writer->made) writer->made = strlen(folder);
        if (!made && errno != EEXIST)
            return cot_fail(COT_IO, "%s: cannot make the cache folder: %s; data.cache_dir names another", folder,
                            strerror(errno));
    }
    return COT_OK;
}

/* Those that were made and that nobody else has put anything in. */
static void remove_folders(const cache_writer *writer, const char *path)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash; writer->made && (slash = strrchr(folder, '/')) && (size_t)(slash - folder) >= writer->made;) {
        *slash = '\0';
        if (rmdir(folder) != 0) return;
    }
}

/* The temporary file has one name and is locked while it is written: what a killed process leaves is written over. Of
 * two that make the same cache at the same time, the second takes a name of its own. */
static cot_status open_temporary(cache_writer *writer, const char *path)
{
    COT_TRY(make_folders(writer, path));
    const size_t bytes = strlen(path) + sizeof ".partial";
    writer->path = cot_malloc(bytes);
    if (!writer->path) return cot_fail(COT_OUT_OF_MEMORY, "no memory for the path of the cache");
    snprintf(writer->path, bytes, "%s.partial", path);
    int file;
    if (cot_file_lock(writer->path, &file) == COT_INVALID) {
        snprintf(writer->path, bytes, "%s.XXXXXX", path);
        file = mkstemp(writer->path);
    }
    writer->file = file >= 0 && ftruncate(file, 0) == 0 ? fdopen(file, "wb") : NULL;
    if (writer->file) return COT_OK;
    const cot_status status =
        cot_fail(COT_IO, "%s: cannot write the cache: %s; data.cache_dir names another folder", path, strerror(errno));
    if (file >= 0) cot_file_unlock(writer->path, file);
    return status;
}

/* Gives the finished file, which is flushed, its name, or removes what there is; while the lock is held. */
static cot_status close_temporary(cache_writer *writer, const char *path, cot_status status)
{
    if (!writer->file) return status;
    if (status == COT_OK && rename(writer->path, path) != 0)
        status = cot_fail(COT_IO, "%s: cannot rename to it: %s", path, strerror(errno));
    if (status != COT_OK) unlink(writer->path);
    fclose(writer->file);
    return status;
}

cot_status cot_token_cache_write(const char *path, const cot_cache_key *key, cot_data_progress progress, void *context)
{
    cache_writer writer = {.key = key, .progress = progress, .progress_context = context};
    cot_status   status = open_temporary(&writer, path);
    if (status == COT_OK) status = fill_file(&writer);
    status = close_temporary(&writer, path, status);
    if (status != COT_OK) remove_folders(&writer, path);
    cot_tokenizer_encoder_destroy(writer.encoder);
    for (int s = 0; s < COT_SPLITS; s++) cot_free(writer.documents[s]);
    cot_free(writer.path);
    return status;
}
