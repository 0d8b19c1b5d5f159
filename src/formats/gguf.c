/* The file is put together from two buffers, settings and directory, and rows that come later. */
#include "formats/gguf.h"

#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/threads.h"
#include "formats/file.h"

enum { VERSION = 3, ALIGNMENT = 32, BLOCK_BYTES = 1 << 20 };

/* Kinds of settings. */
enum { KIND_U32 = 4, KIND_I32 = 5, KIND_F32 = 6, KIND_BOOL = 7, KIND_TEXT = 8, KIND_LIST = 9 };

typedef struct {
    unsigned char *bytes;
    size_t         count, room;
    bool           failed; /* memory was short */
} buffer;

typedef struct {
    cot_gguf_type type;
    size_t        columns, rows;
    char          name[64];
} tensor;

struct cot_gguf {
    buffer           settings, directory, tensors; /* the last holds `tensor`s */
    uint64_t         setting_count, data_bytes;
    size_t           tensor_count, turn, done; /* whose turn it is, and its rows that are written */
    cot_file_writer *writer;
    unsigned char   *block; /* encoded rows on their way */
    size_t           block_bytes;
};

/* ---- buffers ---- */

static void put(buffer *b, const void *data, size_t bytes)
{
    if (b->failed) return;
    if (bytes > b->room - b->count) {
        const size_t   room = 2 * b->room + bytes + 256;
        unsigned char *grown = cot_realloc(b->bytes, b->count, room);
        b->failed = grown == NULL;
        if (b->failed) return;
        b->bytes = grown;
        b->room = room;
    }
    if (bytes) memcpy(b->bytes + b->count, data, bytes);
    b->count += bytes;
}

static void put_number(buffer *b, uint64_t value, int bytes)
{
    unsigned char little[8];
    for (int i = 0; i < bytes; i++) little[i] = (unsigned char)(value >> 8 * i);
    put(b, little, (size_t)bytes);
}

static void put_text(buffer *b, const char *text, size_t length)
{
    put_number(b, length, 8);
    put(b, text, length);
}

static void put_real(buffer *b, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_number(b, bits, 4);
}

/* ---- settings ---- */

static buffer *start(cot_gguf *file, const char *key, uint32_t kind)
{
    file->setting_count++;
    put_text(&file->settings, key, strlen(key));
    put_number(&file->settings, kind, 4);
    return &file->settings;
}

static buffer *start_list(cot_gguf *file, const char *key, uint32_t kind, size_t count)
{
    buffer *b = start(file, key, KIND_LIST);
    put_number(b, kind, 4);
    put_number(b, count, 8);
    return b;
}

void cot_gguf_u32(cot_gguf *file, const char *key, uint32_t value)
{
    put_number(start(file, key, KIND_U32), value, 4);
}
void cot_gguf_f32(cot_gguf *file, const char *key, float value)
{
    put_real(start(file, key, KIND_F32), value);
}
void cot_gguf_bool(cot_gguf *file, const char *key, bool value)
{
    put_number(start(file, key, KIND_BOOL), value, 1);
}

void cot_gguf_text(cot_gguf *file, const char *key, const char *value)
{
    put_text(start(file, key, KIND_TEXT), value, strlen(value));
}

void cot_gguf_i32s(cot_gguf *file, const char *key, const int32_t *values, size_t count)
{
    buffer *b = start_list(file, key, KIND_I32, count);
    for (size_t i = 0; i < count; i++) put_number(b, (uint32_t)values[i], 4);
}

void cot_gguf_f32s(cot_gguf *file, const char *key, const float *values, size_t count)
{
    buffer *b = start_list(file, key, KIND_F32, count);
    for (size_t i = 0; i < count; i++) put_real(b, values[i]);
}

void cot_gguf_texts(cot_gguf *file, const char *key, size_t count)
{
    start_list(file, key, KIND_TEXT, count);
}
void cot_gguf_item(cot_gguf *file, const char *text, size_t length)
{
    put_text(&file->settings, text, length);
}

/* ---- tensors ---- */

static size_t gap(uint64_t bytes)
{
    return (size_t)(-bytes % ALIGNMENT);
}

void cot_gguf_tensor(cot_gguf *file, const char *name, cot_gguf_type type, int rank, const int64_t *shape)
{
    tensor  t = {.type = type, .columns = (size_t)shape[rank - 1], .rows = 1};
    buffer *b = &file->directory;
    for (int d = 0; d < rank - 1; d++) t.rows *= (size_t)shape[d];
    strncpy(t.name, name, sizeof t.name - 1);
    put(&file->tensors, &t, sizeof t);
    put_text(b, name, strlen(name));
    put_number(b, (uint64_t)rank, 4);
    for (int d = rank; d-- > 0;) put_number(b, (uint64_t)shape[d], 8);
    put_number(b, (uint64_t)type, 4);
    put_number(b, file->data_bytes, 8);
    const uint64_t bytes = (uint64_t)t.rows * cot_gguf_row_bytes(type, t.columns);
    file->data_bytes += bytes + gap(bytes);
    file->tensor_count++;
}

uint64_t cot_gguf_data_bytes(const cot_gguf *file)
{
    return file->data_bytes;
}

/* ---- the file ---- */

cot_status cot_gguf_create(cot_gguf **out)
{
    *out = cot_calloc(sizeof **out);
    return *out ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for a GGUF file's settings");
}

void cot_gguf_destroy(cot_gguf *file)
{
    if (!file) return;
    cot_file_writer_abort(file->writer);
    cot_free(file->settings.bytes);
    cot_free(file->directory.bytes);
    cot_free(file->tensors.bytes);
    cot_free(file->block);
    cot_free(file);
}

static const tensor *tensor_at(const cot_gguf *file, size_t index)
{
    return (const tensor *)(const void *)file->tensors.bytes + index;
}

/* Tensors without rows never get a turn. */
static void skip_full(cot_gguf *file)
{
    while (file->turn < file->tensor_count && file->done == tensor_at(file, file->turn)->rows) {
        file->turn++;
        file->done = 0;
    }
}

static void pad(cot_gguf *file)
{
    static const unsigned char zeros[ALIGNMENT];
    cot_file_writer_put(file->writer, zeros, gap(cot_file_writer_position(file->writer)));
}

/* Room for the widest row. */
static cot_status make_block(cot_gguf *file)
{
    file->block_bytes = BLOCK_BYTES;
    for (size_t i = 0; i < file->tensor_count; i++) {
        const size_t bytes = cot_gguf_row_bytes(tensor_at(file, i)->type, tensor_at(file, i)->columns);
        if (bytes > file->block_bytes) file->block_bytes = bytes;
    }
    file->block = cot_malloc(file->block_bytes);
    return file->block ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for rows of %zu bytes", file->block_bytes);
}

cot_status cot_gguf_open(cot_gguf *file, const char *path)
{
    buffer head = {0};
    put(&head, "GGUF", 4);
    put_number(&head, VERSION, 4);
    put_number(&head, file->tensor_count, 8);
    put_number(&head, file->setting_count, 8);
    cot_status status = COT_OK;
    if (head.failed || file->settings.failed || file->directory.failed || file->tensors.failed)
        status = cot_fail(COT_OUT_OF_MEMORY, "'%s': no memory for its settings", path);
    if (status == COT_OK) status = make_block(file);
    if (status == COT_OK) status = cot_file_writer_open(path, &file->writer);
    if (status == COT_OK) { /* a failure is kept until the commit */
        cot_file_writer_put(file->writer, head.bytes, head.count);
        cot_file_writer_put(file->writer, file->settings.bytes, file->settings.count);
        cot_file_writer_put(file->writer, file->directory.bytes, file->directory.count);
        pad(file);
        skip_full(file);
    }
    cot_free(head.bytes);
    return status;
}

/* As many rows as the block holds. */
static cot_status put_block(cot_gguf *file, const tensor *t, const float *const *rows, size_t count)
{
    const size_t bytes = cot_gguf_row_bytes(t->type, t->columns);
    bool         fits = true;
#pragma omp parallel for num_threads(cot_threads()) reduction(&& : fits) if (count > 1)
    for (size_t i = 0; i < count; i++)
        fits = cot_gguf_encode(t->type, rows[i], t->columns, file->block + i * bytes) && fits;
    if (!fits)
        return cot_fail(COT_INVALID, "tensor '%s' holds a number that is not finite in %s; f32 and bf16 reach further",
                        t->name, cot_gguf_type_name(t->type));
    return cot_file_writer_put(file->writer, file->block, count * bytes);
}

cot_status cot_gguf_rows(cot_gguf *file, const float *const *rows, size_t count)
{
    if (count == 0) return COT_OK;
    const tensor *t = file->turn < file->tensor_count ? tensor_at(file, file->turn) : NULL;
    if (!t || count > t->rows - file->done)
        return cot_fail(COT_INVALID, "%zu rows do not fit the tensor whose turn it is", count);
    const size_t bytes = cot_gguf_row_bytes(t->type, t->columns), most = bytes ? file->block_bytes / bytes : count;
    for (size_t i = 0; i < count; i += most) COT_TRY(put_block(file, t, rows + i, count - i < most ? count - i : most));
    file->done += count;
    if (file->done == t->rows) pad(file);
    skip_full(file);
    return COT_OK;
}

cot_status cot_gguf_commit(cot_gguf *file)
{
    if (file->turn < file->tensor_count)
        return cot_fail(COT_INVALID, "the file was closed before all rows of '%s' had come",
                        tensor_at(file, file->turn)->name);
    cot_file_writer *writer = file->writer;
    file->writer = NULL;
    return cot_file_writer_commit(writer);
}
