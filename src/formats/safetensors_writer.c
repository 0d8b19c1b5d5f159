/* Writes a safetensors file front to back: header first, from shapes alone, then elements as they come. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/convert.h"
#include "formats/file.h"
#include "formats/safetensors.h"

enum { ALIGNMENT = 64, BLOCK_BYTES = 1 << 15, HEADER_LIMIT = 100000000 /* readers accept no longer one */ };

/* One tensor of the file, in file order. */
typedef struct {
    size_t    entry;      /* its place in the caller's list */
    size_t    bytes;
    size_t    elements;
    cot_dtype dtype;
    int       alignment;  /* the power of two in bytes, at most 6 */
} slot;

struct cot_safetensors_writer {
    cot_file_writer *file;
    char            *path;
    slot            *slots;
    size_t           count, turn;  /* tensors, and whose turn it is */
    size_t           done;         /* elements of that one */
    unsigned char    block[BLOCK_BYTES];
};

static const char *stored_name(cot_dtype dtype)
{
    static const char *const names[] = {[COT_F64] = "F64", [COT_F32] = "F32", [COT_BF16] = "BF16", [COT_F16] = "F16",
                                        [COT_I64] = "I64", [COT_I32] = "I32", [COT_U8] = "U8"};
    return names[dtype];
}

static cot_status size_slot(const cot_tensor_entry *entry, slot *out)
{
    if (entry->rank < 0 || entry->rank > COT_STORED_MAX_RANK)
        return cot_fail(COT_INVALID, "tensor '%s' has %d dimensions, expected 0 to 8", entry->name, entry->rank);
    out->dtype = entry->dtype;
    out->elements = 1;
    bool fits = true;
    for (int d = 0; d < entry->rank; d++)
        fits = fits && entry->shape[d] >= 0 && cot_size_mul(out->elements, (size_t)entry->shape[d], &out->elements);
    if (!fits || !cot_size_mul(out->elements, cot_dtype_size(entry->dtype), &out->bytes) || out->bytes > INT64_MAX)
        return cot_fail(COT_INVALID, "tensor '%s': its shape is negative or overflows", entry->name);
    for (out->alignment = 6; out->alignment > 0 && out->bytes % ((size_t)1 << out->alignment) != 0;) out->alignment--;
    return COT_OK;
}

static int by_alignment(const void *a, const void *b)
{
    const slot *x = a, *y = b;
    if (x->alignment != y->alignment) return y->alignment - x->alignment;
    return (x->entry > y->entry) - (x->entry < y->entry);
}

static cot_status lay_out(cot_safetensors_writer *w, const cot_tensor_entry *entries)
{
    size_t total = 0;
    for (size_t i = 0; i < w->count; i++) {
        w->slots[i].entry = i;
        COT_TRY(size_slot(&entries[i], &w->slots[i]));
        if (w->slots[i].bytes > INT64_MAX - total) return cot_fail(COT_INVALID, "'%s': its tensors overflow", w->path);
        total += w->slots[i].bytes;
    }
    qsort(w->slots, w->count, sizeof *w->slots, by_alignment);
    return COT_OK;
}

/* ---- header ---- */

static json_t *describe(const cot_tensor_entry *entry, size_t begin, size_t end)
{
    json_t *shape = json_array();
    for (int d = 0; d < entry->rank; d++) json_array_append_new(shape, json_integer(entry->shape[d]));
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", stored_name(entry->dtype), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

static cot_status no_memory(const cot_safetensors_writer *w)
{
    return cot_fail(COT_OUT_OF_MEMORY, "'%s': no memory for a header of %zu tensors", w->path, w->count);
}

static cot_status fill_header(const cot_safetensors_writer *w, const cot_tensor_entry *entries, json_t *root)
{
    if (json_object_set_new(root, "__metadata__", json_pack("{s:s}", "format", "pt")) != 0) return no_memory(w);
    size_t offset = 0;
    for (size_t i = 0; i < w->count; i++) {
        const slot *s = &w->slots[i];
        const char *name = entries[s->entry].name;
        if (json_object_get(root, name))
            return cot_fail(COT_INVALID, "'%s': two tensors are called '%s'", w->path, name);
        if (json_object_set_new(root, name, describe(&entries[s->entry], offset, offset + s->bytes)) != 0)
            return cot_fail(COT_INVALID, "'%s': tensor '%s': its name is no UTF-8, or memory is short", w->path, name);
        offset += s->bytes;
    }
    return COT_OK;
}

/* Length and text, padded with spaces so that the data starts on a cache line. */
static cot_status put_header(cot_safetensors_writer *w, const char *text)
{
    static const char spaces[] = "                                                                ";  /* 64 */
    const uint64_t length = strlen(text), padded = (8 + length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT - 8;
    if (padded > HEADER_LIMIT)
        return cot_fail(COT_INVALID, "'%s': %zu tensors need a header of more than 100 MB", w->path, w->count);
    unsigned char number[8];
    for (int i = 0; i < 8; i++) number[i] = (unsigned char)(padded >> 8 * i);
    COT_TRY(cot_file_writer_put(w->file, number, sizeof number));
    COT_TRY(cot_file_writer_put(w->file, text, length));
    return cot_file_writer_put(w->file, spaces, padded - length);
}

static cot_status write_header(cot_safetensors_writer *w, const cot_tensor_entry *entries)
{
    json_t *root = json_object();
    if (!root) return no_memory(w);
    cot_status status = fill_header(w, entries, root);
    char *text = status == COT_OK ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (status != COT_OK) return status;
    if (!text) return no_memory(w);
    status = cot_file_writer_open(w->path, &w->file);
    if (status == COT_OK) status = put_header(w, text);
    free(text);
    return status;
}

/* ---- the writer ---- */

static void writer_free(cot_safetensors_writer *w)
{
    cot_free(w->path);
    cot_free(w->slots);
    cot_free(w);
}

void cot_safetensors_writer_abort(cot_safetensors_writer *writer)
{
    if (!writer) return;
    cot_file_writer_abort(writer->file);
    writer_free(writer);
}

/* Empty tensors never get a turn. */
static void skip_full(cot_safetensors_writer *w)
{
    while (w->turn < w->count && w->done == w->slots[w->turn].elements) {
        w->turn++;
        w->done = 0;
    }
}

cot_status cot_safetensors_writer_open(const char *path, const cot_tensor_entry *entries, size_t count,
                                       cot_safetensors_writer **out)
{
    *out = NULL;
    cot_safetensors_writer *w = cot_malloc(sizeof *w);
    if (!w) return cot_fail(COT_OUT_OF_MEMORY, "'%s': no memory to write it", path);
    w->file = NULL;
    w->turn = w->done = 0;
    w->count = count;
    w->path = cot_strdup(path);
    w->slots = cot_calloc((count ? count : 1) * sizeof *w->slots);
    cot_status status =
        w->path && w->slots ? lay_out(w, entries) : cot_fail(COT_OUT_OF_MEMORY, "'%s': no memory to write it", path);
    if (status == COT_OK) status = write_header(w, entries);
    if (status != COT_OK) {
        cot_safetensors_writer_abort(w);
        return status;
    }
    skip_full(w);
    *out = w;
    return COT_OK;
}

size_t cot_safetensors_writer_order(const cot_safetensors_writer *writer, size_t place)
{
    return writer->slots[place].entry;
}

cot_status cot_safetensors_writer_put(cot_safetensors_writer *w, const void *data, cot_dtype from, size_t count)
{
    if (count == 0) return COT_OK;
    if (w->turn == w->count || count > w->slots[w->turn].elements - w->done)
        return cot_fail(COT_INVALID, "'%s': %zu elements do not fit the tensor whose turn it is", w->path, count);
    const cot_dtype to = w->slots[w->turn].dtype;
    if (!cot_convertible(to, from))
        return cot_fail(COT_INVALID, "'%s': %s cannot be stored as %s", w->path, cot_dtype_name(from),
                        cot_dtype_name(to));
    w->done += count;
    skip_full(w);
    if (to == from) return cot_file_writer_put(w->file, data, count * cot_dtype_size(to));
    const size_t to_size = cot_dtype_size(to), from_size = cot_dtype_size(from), most = BLOCK_BYTES / to_size;
    for (size_t done = 0; done < count; done += most) {
        const size_t n = count - done < most ? count - done : most;
        cot_convert(w->block, to, (const unsigned char *)data + done * from_size, from, n);
        COT_TRY(cot_file_writer_put(w->file, w->block, n * to_size));
    }
    return COT_OK;
}

cot_status cot_safetensors_writer_commit(cot_safetensors_writer *writer)
{
    cot_status status;
    if (writer->turn < writer->count) {
        status = cot_fail(COT_INVALID, "'%s': closed before all elements of its tensors had come", writer->path);
        cot_file_writer_abort(writer->file);
    } else {
        status = cot_file_writer_commit(writer->file);
    }
    writer_free(writer);
    return status;
}

cot_status cot_safetensors_write(const char *path, const cot_tensor_entry *entries, size_t count)
{
    cot_safetensors_writer *writer;
    COT_TRY(cot_safetensors_writer_open(path, entries, count, &writer));
    for (size_t i = 0; i < count; i++) {
        const slot *s = &writer->slots[i];
        const cot_tensor_entry *entry = &entries[s->entry];
        const cot_status status = cot_safetensors_writer_put(writer, entry->data, entry->data_dtype, s->elements);
        if (status != COT_OK) {
            cot_safetensors_writer_abort(writer);
            return status;
        }
    }
    return cot_safetensors_writer_commit(writer);
}
