/* The configuration tree: building, reading by path, changing, copying. */
#include "base/config_tree.h"

#include <string.h>
#include <utf8proc.h>

#include "base/fail.h"

/* ---- building ---- */

cot_config *cot_config_new(cot_arena *arena, cot_config_kind kind, const char *file, int line)
{
    cot_config *node = cot_arena_alloc(arena, sizeof *node);
    if (node) *node = (cot_config){.kind = kind, .file = file, .line = line, .arena = arena};
    return node;
}

const char *cot_config_intern(cot_arena *arena, const char *text, size_t length)
{
    char *copy = cot_arena_alloc(arena, length + 1);
    if (!copy) return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

cot_status cot_config_append(cot_config *parent, const char *key, cot_config *item)
{
    if (parent->size == parent->room) {
        const size_t room = parent->room ? 2 * parent->room : 4;
        cot_config **items = cot_arena_alloc(parent->arena, room * sizeof(cot_config *));
        if (!items) return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for the configuration", parent->file);
        if (parent->size) memcpy(items, parent->items, parent->size * sizeof *items);
        parent->items = items;
        parent->room = room;
    }
    item->key = key;
    item->parent = parent;
    parent->items[parent->size++] = item;
    return COT_OK;
}

void cot_config_destroy(cot_config *config)
{
    if (config) cot_arena_destroy(config->arena);
}

static cot_status copy_into(cot_arena *arena, const char *file, const cot_config *from, cot_config **out)
{
    cot_config *node = cot_config_new(arena, from->kind, file, from->line);
    if (!node) return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for a copy of the configuration", from->file);
    node->quoted = from->quoted;
    if ((from->text && !(node->text = cot_config_intern(arena, from->text, strlen(from->text)))) ||
        (from->key && !(node->key = cot_config_intern(arena, from->key, strlen(from->key)))))
        return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for a copy of the configuration", from->file);
    for (size_t i = 0; i < from->size; i++) {
        const cot_config *item = from->items[i];
        /* Nodes of one file share its name; --set brings another. */
        const char *name = item->file == from->file ? file : cot_config_intern(arena, item->file, strlen(item->file));
        if (!name) return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for a copy of the configuration", from->file);
        cot_config *copy;
        COT_TRY(copy_into(arena, name, item, &copy));
        COT_TRY(cot_config_append(node, copy->key, copy));
    }
    *out = node;
    return COT_OK;
}

cot_status cot_config_copy(const cot_config *config, cot_config **out)
{
    *out = NULL;
    if (!config) return cot_fail(COT_INVALID, "no configuration to copy");
    cot_arena *arena = cot_arena_create();
    const char *file = arena ? cot_config_intern(arena, config->file, strlen(config->file)) : NULL;
    const cot_status status =
        file ? copy_into(arena, file, config, out)
             : cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for a copy of the configuration", config->file);
    if (status != COT_OK) cot_arena_destroy(arena);
    return status;
}

/* ---- reading ---- */

cot_config_kind cot_config_get_kind(const cot_config *config) { return config ? config->kind : COT_CONFIG_NULL; }

size_t cot_config_size(const cot_config *config) { return config ? config->size : 0; }

const cot_config *cot_config_at(const cot_config *config, size_t index)
{
    return index < cot_config_size(config) ? config->items[index] : NULL;
}

const char *cot_config_key(const cot_config *config, size_t index)
{
    const cot_config *item = cot_config_at(config, index);
    return item ? item->key : NULL;
}

const char *cot_config_text(const cot_config *config) { return config ? config->text : NULL; }
const char *cot_config_file(const cot_config *config) { return config ? config->file : NULL; }
int         cot_config_line(const cot_config *config) { return config ? config->line : 0; }

/* Reads a place in a list, decimal; false when the word is none or far too long for one. */
static bool list_place(const char *word, size_t length, size_t *out)
{
    if (length == 0 || length > 9) return false;
    size_t place = 0;
    for (size_t i = 0; i < length; i++) {
        if (word[i] < '0' || word[i] > '9') return false;
        place = 10 * place + (size_t)(word[i] - '0');
    }
    *out = place;
    return true;
}

/* The entry that one word of a path names: its place, or `size` when there is none. */
static size_t find_entry(const cot_config *config, const char *word, size_t length)
{
    size_t place;
    if (config->kind == COT_CONFIG_LIST)
        return list_place(word, length, &place) && place < config->size ? place : config->size;
    for (size_t i = 0; config->kind == COT_CONFIG_MAP && i < config->size; i++) {
        const char *key = config->items[i]->key;
        if (strncmp(key, word, length) == 0 && key[length] == '\0') return i;
    }
    return config->size;
}

const cot_config *cot_config_get(const cot_config *config, const char *path)
{
    while (config) {
        const size_t length = strcspn(path, ".");
        config = cot_config_at(config, find_entry(config, path, length));
        if (path[length] == '\0') break;
        path += length + 1;
    }
    return config;
}

/* ---- changing ---- */

static cot_status no_memory(void)
{
    return cot_fail(COT_OUT_OF_MEMORY, "no memory to set a value of the configuration");
}

/* Levels above and including `config`. */
static int depth_of(const cot_config *config)
{
    int depth = 0;
    for (; config; config = config->parent) depth++;
    return depth;
}

/* Checks the path in the first `length` bytes; `depth` gets the levels down to what it names. */
static cot_status check_path(const cot_config *config, const char *path, size_t length, int *depth)
{
    *depth = depth_of(config) + 1;
    bool empty = true;  /* no letter since the last dot */
    for (size_t i = 0; i < length; i++) {
        if (path[i] == '.' && empty) break;
        empty = path[i] == '.';
        *depth += empty;
    }
    if (empty)
        return cot_fail(COT_INVALID, "'%.200s' sets nothing, expected KEY=VALUE, e.g. train.optimizer.lr=1e-3", path);
    if (*depth > COT_CONFIG_DEPTH)
        return cot_fail(COT_INVALID, "'%.200s' nests deeper than %d", path, COT_CONFIG_DEPTH);
    return COT_OK;
}

/* Puts `item` under one word of a path, in place of what was there. */
static cot_status put_entry(cot_config *config, const char *word, size_t length, cot_config *item)
{
    const size_t place = find_entry(config, word, length);
    if (place < config->size) {
        item->key = config->items[place]->key;
        item->parent = config;
        config->items[place] = item;
        return COT_OK;
    }
    if (config->kind == COT_CONFIG_LIST) {
        size_t wanted;
        if (!list_place(word, length, &wanted) || wanted != config->size)
            return cot_config_fail(config, "is a list of %zu, so '%.*s' should be a place from 0 to %zu", config->size,
                                   (int)length, word, config->size);
        return cot_config_append(config, NULL, item);
    }
    if (config->kind == COT_CONFIG_SCALAR)
        return cot_config_fail(config, "is '%.60s' and holds no '%.*s'", config->text, (int)length, word);
    const char *key = cot_config_intern(config->arena, word, length);
    if (!key) return no_memory();
    config->kind = COT_CONFIG_MAP;  /* an empty value becomes a map */
    return cot_config_append(config, key, item);
}

/* Puts `value` at the path in the first `length` bytes, and maps on the way where there is nothing yet. */
static cot_status put_at(cot_config *config, const char *path, size_t length, cot_config *value)
{
    const char *end = path + length;
    for (;;) {
        const char *dot = memchr(path, '.', (size_t)(end - path));
        const size_t word = (size_t)((dot ? dot : end) - path);
        if (!dot) return put_entry(config, path, word, value);
        const size_t place = find_entry(config, path, word);
        if (place == config->size) {
            cot_config *map = cot_config_new(config->arena, COT_CONFIG_MAP, "--set", 0);
            if (!map) return no_memory();
            COT_TRY(put_entry(config, path, word, map));
        }
        config = config->items[place];
        path = dot + 1;
    }
}

cot_status cot_config_set(cot_config *config, const char *assignment)
{
    if (!config || !assignment) return cot_fail(COT_INVALID, "no configuration or no KEY=VALUE to set");
    const char *sign = strchr(assignment, '=');
    const size_t length = sign ? (size_t)(sign - assignment) : 0;  /* 0 is refused as an empty path */
    int depth;
    COT_TRY(check_path(config, assignment, length, &depth));
    const char *text = assignment + length + 1;
    cot_config *value;
    COT_TRY(cot_config_parse_into(config->arena, text, strlen(text), "--set", false, depth - 1, &value));
    return put_at(config, assignment, length, value);
}

static bool is_utf8(const char *text)
{
    const utf8proc_uint8_t *rest = (const utf8proc_uint8_t *)text;
    utf8proc_int32_t letter;
    while (*rest) {
        const utf8proc_ssize_t bytes = utf8proc_iterate(rest, -1, &letter);
        if (bytes <= 0) return false;
        rest += bytes;
    }
    return true;
}

cot_status cot_config_set_text(cot_config *config, const char *path, const char *text)
{
    if (!config || !path || !text) return cot_fail(COT_INVALID, "no configuration, path or text to set");
    if (!is_utf8(text)) return cot_fail(COT_INVALID, "%s is not UTF-8 text: '%.200s'", path, text);
    const size_t length = strlen(path);
    int depth;
    COT_TRY(check_path(config, path, length, &depth));
    cot_config *value = cot_config_new(config->arena, COT_CONFIG_SCALAR, "--set", 0);
    if (!value) return no_memory();
    value->quoted = true;
    value->text = cot_config_intern(config->arena, text, strlen(text));
    return value->text ? put_at(config, path, length, value) : no_memory();
}

static cot_status put_copy(cot_config *config, const char *path, size_t length, const cot_config *tree)
{
    cot_config *copy;
    const char *file = cot_config_intern(config->arena, tree->file, strlen(tree->file));
    if (!file) return no_memory();
    COT_TRY(copy_into(config->arena, file, tree, &copy));
    return put_at(config, path, length, copy);
}

cot_status cot_config_put(cot_config *config, const char *path, const cot_config *tree)
{
    if (!config || !path || !tree) return cot_fail(COT_INVALID, "no configuration, path or tree to put");
    const size_t length = strlen(path);
    int depth;
    COT_TRY(check_path(config, path, length, &depth));
    return put_copy(config, path, length, tree);
}

void cot_config_remove(cot_config *config, const char *path)
{
    const char *dot = strrchr(path, '.');
    const cot_config *found = cot_config_get(config, path);
    if (!found || !found->parent) return;
    cot_config *parent = found->parent;
    const size_t place = find_entry(parent, dot ? dot + 1 : path, strlen(dot ? dot + 1 : path));
    parent->size--;
    for (size_t i = place; i < parent->size; i++) parent->items[i] = parent->items[i + 1];
}

/* Is `over` laid over `below` key by key? Not where both name a kind, and not the same one. */
static bool goes_over(const cot_config *below, const cot_config *over)
{
    if (over->kind != COT_CONFIG_MAP || below->kind == COT_CONFIG_SCALAR) return false;
    const char *kind_below = cot_config_text(cot_config_get(below, "kind")), *kind_over = cot_config_text(cot_config_get(over, "kind"));
    return !kind_below || !kind_over || strcmp(kind_below, kind_over) == 0;
}

cot_status cot_config_overlay(cot_config *config, const cot_config *over)
{
    for (size_t i = 0; i < cot_config_size(over); i++) {
        const cot_config *item = over->items[i];
        const size_t length = strlen(item->key), place = find_entry(config, item->key, length);
        cot_config *below = place < config->size ? config->items[place] : NULL;
        COT_TRY(below && goes_over(below, item) ? cot_config_overlay(below, item) : put_copy(config, item->key, length, item));
    }
    return COT_OK;
}
