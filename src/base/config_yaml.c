/* Configurations from and to YAML, over libyaml's events.
 *
 * Only what a recipe needs is read: one document of maps, lists and scalars. Anchors, aliases and tags are refused, so
 * a small file cannot stand for a huge tree, and repeated keys are errors. A scalar keeps the text as written. */
#include "base/config_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/fail.h"

typedef struct {
    yaml_parser_t yaml;
    cot_arena    *arena;
    const char   *file;   /* in the arena */
    const char   *text;
    size_t        length;
    bool          lines;
    size_t        nodes;
} reader;

/* ---- errors ---- */

static cot_status no_memory(const reader *r)
{
    return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for the configuration", r->file);
}

static cot_status fail_mark(const reader *r, yaml_mark_t mark, const char *what)
{
    if (!r->lines) return cot_fail(COT_FORMAT, "%s: '%.100s': %s", r->file, r->text, what);
    return cot_fail(COT_FORMAT, "%s:%zu:%zu: %s", r->file, mark.line + 1, mark.column + 1, what);
}

/* Bytes that are no text: libyaml gives their offset, a reader wants line and column. */
static cot_status fail_offset(const reader *r, size_t offset, const char *what)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < r->length; i++) {
        mark.column = r->text[i] == '\n' ? 0 : mark.column + 1;
        mark.line += r->text[i] == '\n';
    }
    return fail_mark(r, mark, what);
}

/* The byte at a mark, whose column counts characters; NUL past the end. */
static char byte_at(const reader *r, yaml_mark_t mark)
{
    const char *byte = r->text, *end = r->text + r->length;
    for (size_t line = 0; line < mark.line && byte < end; byte++) line += *byte == '\n';
    for (size_t column = 0; byte < end; byte++) {
        const bool starts = ((unsigned char)*byte & 0xC0) != 0x80;  /* not a later byte of a character */
        if (starts && column++ == mark.column) return *byte;
    }
    return '\0';
}

static cot_status fail_yaml(const reader *r)
{
    const yaml_parser_t *y = &r->yaml;
    if (y->error == YAML_MEMORY_ERROR) return no_memory(r);
    if (y->error == YAML_READER_ERROR) return fail_offset(r, y->problem_offset, y->problem);
    const yaml_mark_t mark = y->problem_mark;
    const bool tab = byte_at(r, mark) == '\t';
    char what[256];
    snprintf(what, sizeof what, "%s%s%s%s", y->problem ? y->problem : "not YAML",
             tab ? " (a tab: indent with spaces)" : "", y->context ? " " : "", y->context ? y->context : "");
    return fail_mark(r, mark, what);
}

/* ---- reading ---- */

static cot_status next_event(reader *r, yaml_event_t *event)
{
    return yaml_parser_parse(&r->yaml, event) ? COT_OK : fail_yaml(r);
}

static int line_of(const reader *r, yaml_mark_t mark) { return r->lines ? (int)mark.line + 1 : 0; }

static cot_status new_node(reader *r, cot_config_kind kind, yaml_mark_t mark, cot_config **out)
{
    if (++r->nodes > COT_CONFIG_NODES) {
        char what[64];
        snprintf(what, sizeof what, "more than %d values", COT_CONFIG_NODES);
        return fail_mark(r, mark, what);
    }
    *out = cot_config_new(r->arena, kind, r->file, line_of(r, mark));
    return *out ? COT_OK : no_memory(r);
}

static cot_status read_text(reader *r, const yaml_event_t *event, const char **out)
{
    const char *text = (const char *)event->data.scalar.value;
    const size_t length = event->data.scalar.length;
    if (memchr(text, '\0', length)) return fail_mark(r, event->start_mark, "a NUL character");
    *out = cot_config_intern(r->arena, text, length);
    return *out ? COT_OK : no_memory(r);
}

static bool means_null(const char *text)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i]) == 0) return true;
    return false;
}

static cot_status read_scalar(reader *r, const yaml_event_t *event, cot_config **out)
{
    COT_TRY(new_node(r, COT_CONFIG_SCALAR, event->start_mark, out));
    COT_TRY(read_text(r, event, &(*out)->text));
    (*out)->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (!(*out)->quoted && means_null((*out)->text)) {
        (*out)->kind = COT_CONFIG_NULL;
        (*out)->text = NULL;
    }
    return COT_OK;
}

static int by_key_then_line(const void *a, const void *b)
{
    const cot_config *x = *(cot_config *const *)a, *y = *(cot_config *const *)b;
    const int order = strcmp(x->key, y->key);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

/* Sorted, equal keys are neighbours: long maps take no square time. */
static cot_status check_keys(const reader *r, const cot_config *map)
{
    if (map->size < 2) return COT_OK;
    cot_config **sorted = cot_malloc(map->size * sizeof(cot_config *));
    if (!sorted) return no_memory(r);
    memcpy(sorted, map->items, map->size * sizeof *sorted);
    qsort(sorted, map->size, sizeof *sorted, by_key_then_line);
    cot_status status = COT_OK;
    for (size_t i = 1; i < map->size && status == COT_OK; i++) {
        const cot_config *first = sorted[i - 1], *again = sorted[i];
        if (strcmp(first->key, again->key) != 0) continue;
        status = r->lines ? cot_fail(COT_FORMAT, "%s:%d: key '%.60s' is here a second time, first in line %d", r->file,
                                     again->line, again->key, first->line)
                          : cot_fail(COT_FORMAT, "%s: '%.100s': key '%.60s' stands there twice", r->file, r->text,
                                     again->key);
    }
    cot_free(sorted);
    return status;
}

static cot_status read_node(reader *r, const yaml_event_t *event, int depth, cot_config **out);

static cot_status read_key(reader *r, const yaml_event_t *event, const char **out)
{
    if (event->type == YAML_ALIAS_EVENT) return fail_mark(r, event->start_mark, "an alias as key; write the key out");
    if (event->type != YAML_SCALAR_EVENT)
        return fail_mark(r, event->start_mark, "a list or map as key, expected a name");
    if (event->data.scalar.length == 0) return fail_mark(r, event->start_mark, "an empty key, expected a name");
    if (event->data.scalar.anchor || event->data.scalar.tag)
        return fail_mark(r, event->start_mark, "an anchor or tag before a key, expected a plain name");
    return read_text(r, event, out);
}

/* Reads one entry; `event`, its first, stays the caller's. */
static cot_status read_entry(reader *r, cot_config *parent, const yaml_event_t *event, int depth)
{
    cot_config *item;
    if (parent->kind == COT_CONFIG_LIST) {
        COT_TRY(read_node(r, event, depth, &item));
        return cot_config_append(parent, NULL, item);
    }
    const char *key;
    yaml_event_t value;
    COT_TRY(read_key(r, event, &key));
    COT_TRY(next_event(r, &value));
    cot_status status = read_node(r, &value, depth, &item);
    yaml_event_delete(&value);
    if (status != COT_OK) return status;
    item->line = line_of(r, event->start_mark);  /* a map's entry stands where its key does */
    return cot_config_append(parent, key, item);
}

static cot_status read_entries(reader *r, cot_config *parent, int depth)
{
    const yaml_event_type_t end = parent->kind == COT_CONFIG_LIST ? YAML_SEQUENCE_END_EVENT : YAML_MAPPING_END_EVENT;
    for (;;) {
        yaml_event_t event;
        COT_TRY(next_event(r, &event));
        const bool done = event.type == end;
        const cot_status status = done ? COT_OK : read_entry(r, parent, &event, depth);
        yaml_event_delete(&event);
        if (status != COT_OK) return status;
        if (done) return parent->kind == COT_CONFIG_MAP ? check_keys(r, parent) : COT_OK;
    }
}

static cot_status refuse_specials(const reader *r, const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (event->type == YAML_ALIAS_EVENT) return fail_mark(r, event->start_mark, "an alias (*); write the value out");
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor) return fail_mark(r, event->start_mark, "an anchor (&); write values out where they are used");
    if (tag)
        return fail_mark(r, event->start_mark,
                         "a tag (!); values need none here (text that starts with ! goes in quotes)");
    return COT_OK;
}

/* Reads the node that starts with `event`, which stays the caller's; `depth` levels are above it. */
static cot_status read_node(reader *r, const yaml_event_t *event, int depth, cot_config **out)
{
    COT_TRY(refuse_specials(r, event));
    if (depth >= COT_CONFIG_DEPTH) {
        char what[64];
        snprintf(what, sizeof what, "nested deeper than %d levels", COT_CONFIG_DEPTH);
        return fail_mark(r, event->start_mark, what);
    }
    if (event->type == YAML_SCALAR_EVENT) return read_scalar(r, event, out);
    const cot_config_kind kind = event->type == YAML_SEQUENCE_START_EVENT ? COT_CONFIG_LIST : COT_CONFIG_MAP;
    COT_TRY(new_node(r, kind, event->start_mark, out));
    return read_entries(r, *out, depth + 1);
}

/* Reads events up to the first of `wanted` and leaves it in `event` for the caller to delete. */
static cot_status skip_to(reader *r, yaml_event_type_t wanted, yaml_event_type_t or_else, yaml_event_t *event)
{
    for (;;) {
        COT_TRY(next_event(r, event));
        if (event->type == wanted || event->type == or_else) return COT_OK;
        yaml_event_delete(event);
    }
}

static cot_status read_document(reader *r, int depth, cot_config **out)
{
    yaml_event_t event;
    COT_TRY(skip_to(r, YAML_DOCUMENT_START_EVENT, YAML_STREAM_END_EVENT, &event));
    const bool nothing = event.type == YAML_STREAM_END_EVENT;
    yaml_event_delete(&event);
    if (nothing) return new_node(r, COT_CONFIG_NULL, (yaml_mark_t){0}, out);

    COT_TRY(next_event(r, &event));
    cot_status status = read_node(r, &event, depth, out);
    yaml_event_delete(&event);
    if (status != COT_OK) return status;

    COT_TRY(skip_to(r, YAML_DOCUMENT_START_EVENT, YAML_STREAM_END_EVENT, &event));
    if (event.type == YAML_DOCUMENT_START_EVENT)
        status = fail_mark(r, event.start_mark, "a second document, expected one per file");
    yaml_event_delete(&event);
    return status;
}

cot_status cot_config_parse_into(cot_arena *arena, const char *text, size_t length, const char *file, bool lines,
                                 int depth, cot_config **out)
{
    reader r = {.arena = arena, .file = file, .text = text, .length = length, .lines = lines};
    const char *nul = length ? memchr(text, '\0', length) : NULL;
    if (nul) return fail_offset(&r, (size_t)(nul - text), "a NUL byte, expected text");
    if (length > COT_CONFIG_BYTES)
        return cot_fail(COT_FORMAT, "%s: %zu bytes, expected at most %d", file, length, COT_CONFIG_BYTES);
    r.file = cot_config_intern(arena, file, strlen(file));
    if (!r.file) return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for the configuration", file);
    if (!yaml_parser_initialize(&r.yaml)) return no_memory(&r);
    yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
    const size_t bom = length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;  /* byte order mark */
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)text + bom, length - bom);
    const cot_status status = read_document(&r, depth, out);
    yaml_parser_delete(&r.yaml);
    return status;
}

static cot_status parse_bytes(const char *text, size_t length, const char *name, cot_config **out)
{
    cot_arena *arena = cot_arena_create();
    if (!arena) return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for the configuration", name);
    cot_config *root = NULL;
    const cot_status status = cot_config_parse_into(arena, text, length, name, true, 0, &root);
    if (status != COT_OK) cot_arena_destroy(arena);
    else *out = root;
    return status;
}

cot_status cot_config_parse(const char *text, const char *name, cot_config **out)
{
    *out = NULL;
    if (!text || !name) return cot_fail(COT_INVALID, "no text or no name to parse a configuration from");
    return parse_bytes(text, strlen(text), name, out);
}

/* Reads on while the buffer fills up, one byte past the limit at most. */
static cot_status read_all(FILE *f, const char *path, char **text, size_t *length)
{
    size_t room = 0;
    for (*length = 0; *length == room && room <= COT_CONFIG_BYTES;) {
        const size_t more = room ? 2 * room : 1 << 16;
        char *grown = cot_realloc(*text, room, more);
        if (!grown) return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to read it", path);
        *text = grown;
        *length += fread(grown + room, 1, more - room, f);
        room = more;
    }
    if (ferror(f)) return cot_fail(COT_IO, "%s: cannot be read: %s", path, strerror(errno));
    if (*length > COT_CONFIG_BYTES)
        return cot_fail(COT_FORMAT, "%s: longer than %d bytes, too long for a configuration", path, COT_CONFIG_BYTES);
    return COT_OK;
}

cot_status cot_config_read(const char *path, cot_config **out)
{
    *out = NULL;
    if (!path) return cot_fail(COT_INVALID, "no path to read a configuration from");
    FILE *f = fopen(path, "rb");
    if (!f) return cot_fail(COT_IO, "%s: cannot be opened: %s", path, strerror(errno));
    char *text = NULL;
    size_t length;
    cot_status status = read_all(f, path, &text, &length);
    fclose(f);
    if (status == COT_OK) status = parse_bytes(text, length, path, out);
    cot_free(text);
    return status;
}
