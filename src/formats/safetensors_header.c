/* Walks the header with jansson one value at a time, each bounded in length: a hostile header of 100 MB makes no tree
 * larger than one entry. */
#include "formats/safetensors_header.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "formats/json.h"

enum {
    HEADER_LIMIT = 100000000,  /* as in the format's own library */
    NAME_LIMIT = 4096,
    ENTRY_LIMIT = 4096,
    METADATA_LIMIT = 16 << 20,
};

static const struct {
    const char *name;
    size_t      size;
} stored_types[] = {
#define X(id, size, ours) [COT_STORED_##id] = {#id, size},
    COT_STORED_LIST(X)
#undef X
};

const char *cot_stored_name(cot_stored dtype) { return stored_types[dtype].name; }
size_t      cot_stored_size(cot_stored dtype) { return stored_types[dtype].size; }

/* The header's text and how far it is read. */
typedef struct {
    const char *file;
    const char *text;
    size_t      bytes, at;
} cursor;

static char peek(cursor *c)
{
    while (c->at < c->bytes && memchr(" \t\n\r", c->text[c->at], 4)) c->at++;
    return c->at < c->bytes ? c->text[c->at] : '\0';
}

static cot_status expect(cursor *c, char wanted)
{
    if (peek(c) != wanted)
        return cot_fail(COT_FORMAT, "'%s': header, byte %zu: expected '%c'", c->file, c->at, wanted);
    c->at++;
    return COT_OK;
}

/* The next JSON value, of at most `limit` bytes. */
static cot_status next_value(cursor *c, size_t limit, json_t **out)
{
    peek(c);
    const size_t left = c->bytes - c->at, bytes = left < limit ? left : limit;
    json_error_t error;
    const size_t flags = JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES;
    *out = json_loadb(c->text + c->at, bytes, flags, &error);
    if (!*out && cot_json_out_of_memory(&error))
        return cot_fail(COT_OUT_OF_MEMORY, "'%s': no memory to parse its header", c->file);
    if (!*out && bytes < left && (size_t)error.position >= bytes)
        return cot_fail(COT_FORMAT, "'%s': header, byte %zu: a name or entry longer than %zu bytes", c->file, c->at,
                        limit);
    if (!*out) {
        char line[JSON_ERROR_TEXT_LENGTH];
        cot_json_error_line(&error, line, sizeof line);
        return cot_fail(COT_FORMAT, "'%s': header, byte %zu: %s", c->file, c->at + (size_t)error.position, line);
    }
    c->at += (size_t)error.position;
    return COT_OK;
}

static cot_status entry_fail(const char *file, const char *name, const char *what)
{
    return cot_fail(COT_FORMAT, "'%s': tensor '%s': %s", file, name, what);
}

static bool find_type(const char *name, cot_stored *out)
{
    for (int i = 0; name && i < COT_STORED_COUNT; i++)
        if (strcmp(stored_types[i].name, name) == 0) {
            *out = (cot_stored)i;
            return true;
        }
    return false;
}

/* Sizes are multiplied in order, so an overflow counts even where a zero follows. */
static cot_status read_shape(const char *file, const json_t *shape, cot_stored_tensor *t)
{
    if (!json_is_array(shape)) return entry_fail(file, t->name, "its shape is no list");
    if (json_array_size(shape) > COT_STORED_MAX_RANK) return entry_fail(file, t->name, "more than 8 dimensions");
    t->rank = (int32_t)json_array_size(shape);
    size_t count = 1, bytes;
    for (int d = 0; d < COT_STORED_MAX_RANK; d++) {
        t->shape[d] = 1;
        if (d >= t->rank) continue;
        const json_t *size = json_array_get(shape, (size_t)d);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return entry_fail(file, t->name, "its shape holds something else than whole numbers from 0");
        t->shape[d] = json_integer_value(size);
        if (!cot_size_mul(count, (size_t)t->shape[d], &count)) return entry_fail(file, t->name, "its shape overflows");
    }
    if (!cot_size_mul(count, cot_stored_size(t->dtype), &bytes) || bytes > INT64_MAX)
        return entry_fail(file, t->name, "its shape overflows");
    t->count = (int64_t)count;
    t->bytes = bytes;
    return COT_OK;
}

static cot_status read_offsets(const char *file, const json_t *offsets, const unsigned char *data, size_t bytes,
                               cot_stored_tensor *t)
{
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return entry_fail(file, t->name, "data_offsets is not two whole numbers");
    const json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin) return entry_fail(file, t->name, "data_offsets runs backwards");
    if ((uint64_t)end > bytes)
        return cot_fail(COT_FORMAT, "'%s': tensor '%s': ends at byte %lld of the data, but the file has only %zu", file,
                        t->name, (long long)end, bytes);
    if ((uint64_t)(end - begin) != t->bytes)
        return cot_fail(COT_FORMAT, "'%s': tensor '%s': data_offsets spans %lld bytes, its shape and dtype need %zu",
                        file, t->name, (long long)(end - begin), t->bytes);
    t->data = data + begin;
    return COT_OK;
}

static cot_status read_entry(const char *file, const json_t *value, const unsigned char *data, size_t bytes,
                             cot_stored_tensor *t)
{
    if (!json_is_object(value)) return entry_fail(file, t->name, "its entry is no map");
    if (!find_type(json_string_value(json_object_get(value, "dtype")), &t->dtype))
        return entry_fail(file, t->name, "its dtype is missing or not supported");
    COT_TRY(read_shape(file, json_object_get(value, "shape"), t));
    return read_offsets(file, json_object_get(value, "data_offsets"), data, bytes, t);
}

/* Names go into messages and onto terminals: control characters have no place in them. */
static cot_status keep_name(const cursor *c, const json_t *name, cot_arena *names, const char **out)
{
    const char *text = json_string_value(name);
    if (!text) return cot_fail(COT_FORMAT, "'%s': header, byte %zu: a key is no string", c->file, c->at);
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return cot_fail(COT_FORMAT, "'%s': header, byte %zu: a name holds control characters", c->file, c->at);
    const size_t bytes = strlen(text) + 1;
    char *copy = cot_arena_alloc(names, bytes);
    if (!copy) return cot_fail(COT_OUT_OF_MEMORY, "'%s': no memory for the names of its tensors", c->file);
    memcpy(copy, text, bytes);
    *out = copy;
    return COT_OK;
}

static cot_status next_name(cursor *c, cot_arena *names, const char **out)
{
    json_t *name;
    COT_TRY(next_value(c, NAME_LIMIT, &name));
    const cot_status status = keep_name(c, name, names, out);
    json_decref(name);
    return status;
}

static cot_status check_metadata(const char *file, json_t *metadata)
{
    const char *key;
    json_t     *value;
    if (!json_is_object(metadata)) return cot_fail(COT_FORMAT, "'%s': __metadata__ is no map", file);
    json_object_foreach(metadata, key, value) if (!json_is_string(value)) return cot_fail(
        COT_FORMAT, "'%s': __metadata__ maps to something else than strings", file);
    return COT_OK;
}

static cot_status append(cot_stored_list *list, const cot_stored_tensor *t)
{
    if (list->count == list->room) {
        const size_t room = list->room ? 2 * list->room : 64;
        cot_stored_tensor *grown = cot_realloc(list->items, list->count * sizeof *grown, room * sizeof *grown);
        if (!grown) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a list of %zu tensors", list->count);
        list->items = grown;
        list->room = room;
    }
    list->items[list->count++] = *t;
    return COT_OK;
}

/* One `"name": {...}`. */
static cot_status read_pair(cursor *c, const unsigned char *data, size_t bytes, size_t file_index, cot_arena *names,
                            cot_stored_list *list)
{
    cot_stored_tensor t = {.file = file_index};
    COT_TRY(next_name(c, names, &t.name));
    COT_TRY(expect(c, ':'));
    const bool is_metadata = strcmp(t.name, "__metadata__") == 0;
    json_t *value;
    const size_t left = c->bytes - c->at;
    const char *excess =
        is_metadata ? cot_json_excess(c->text + c->at, left < METADATA_LIMIT ? left : METADATA_LIMIT) : NULL;
    if (excess) return cot_fail(COT_FORMAT, "'%s': header, byte %zu: __metadata__: %s", c->file, c->at, excess);
    COT_TRY(next_value(c, is_metadata ? METADATA_LIMIT : ENTRY_LIMIT, &value));
    cot_status status = is_metadata ? check_metadata(c->file, value) : read_entry(c->file, value, data, bytes, &t);
    json_decref(value);
    if (status == COT_OK && !is_metadata) status = append(list, &t);
    return status;
}

static int by_place(const void *a, const void *b)
{
    const cot_stored_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);  /* empty ones first */
}

static cot_status check_cover(const char *file, cot_stored_tensor *items, size_t count, const unsigned char *data,
                              size_t bytes)
{
    if (count > 0) qsort(items, count, sizeof *items, by_place);
    const unsigned char *end = data;
    for (size_t i = 0; i < count; i++) {
        if (items[i].data < end) return entry_fail(file, items[i].name, "overlaps another tensor");
        if (items[i].data > end)
            return entry_fail(file, items[i].name, "a hole lies before it; expected tensors back to back");
        end += items[i].bytes;
    }
    if (end != data + bytes)
        return cot_fail(COT_FORMAT, "'%s': %zu bytes behind the last tensor belong to none", file,
                        (size_t)(data + bytes - end));
    return COT_OK;
}

/* Checks the length in front and gives the header's bytes. */
static cot_status find_header(const unsigned char *data, size_t bytes, const char *file, size_t *length)
{
    if (bytes < 8)
        return cot_fail(COT_FORMAT, "'%s': no safetensors file: %zu bytes long, expected at least 8", file, bytes);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | data[i];
    if (n > HEADER_LIMIT)
        return cot_fail(COT_FORMAT, "'%s': no safetensors file: its header would be longer than 100 MB", file);
    if (n > bytes - 8)
        return cot_fail(COT_FORMAT, "'%s': truncated, or no safetensors file: a header of %llu bytes in a file of %zu",
                        file, (unsigned long long)n, bytes);
    if (n == 0 || data[8] != '{')
        return cot_fail(COT_FORMAT, "'%s': no safetensors file: its header does not start with '{'", file);
    *length = (size_t)n;
    return COT_OK;
}

cot_status cot_safetensors_header(const unsigned char *data, size_t bytes, const char *file, size_t file_index,
                                  cot_arena *names, cot_stored_list *list)
{
    cursor c = {.file = file, .text = (const char *)data + 8};
    COT_TRY(find_header(data, bytes, file, &c.bytes));
    const unsigned char *area = data + 8 + c.bytes;
    const size_t area_bytes = bytes - 8 - c.bytes, before = list->count;
    c.at = 1;
    while (peek(&c) != '}') {
        COT_TRY(read_pair(&c, area, area_bytes, file_index, names, list));
        if (peek(&c) == '}') break;
        COT_TRY(expect(&c, ','));
        if (peek(&c) == '}') return cot_fail(COT_FORMAT, "'%s': header, byte %zu: expected a name", file, c.at);
    }
    c.at++;
    if (peek(&c) != '\0' || c.at < c.bytes)
        return cot_fail(COT_FORMAT, "'%s': header, byte %zu: expected only spaces behind '}'", file, c.at);
    return check_cover(file, list->items ? list->items + before : NULL, list->count - before, area, area_bytes);
}
