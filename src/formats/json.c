#include "formats/json.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/file.h"

void cot_json_error_line(const json_error_t *error, char *line, size_t size)
{
    snprintf(line, size, "%s", error->text);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e) *c = '?';
}

bool cot_json_out_of_memory(const json_error_t *error)
{
    return json_error_code(error) == json_error_out_of_memory || json_error_code(error) == json_error_unknown ||
           error->line < 0;
}

/* What jansson takes for a map, a list, an entry of a list and one of a map, rounded up; strings take their own length
 * besides. */
enum {
    MAP_BYTES = 224,
    LIST_BYTES = 128,
    ENTRY_BYTES = 48,
    PAIR_BYTES = 64,
    SLACK = 1 << 20,
    GROWTH = 24,
    DEEPEST = 2048
};

const char *cot_json_excess(const char *text, size_t bytes)
{
    const size_t room = bytes <= SIZE_MAX / GROWTH - SLACK ? GROWTH * bytes + SLACK : SIZE_MAX;
    size_t taken = 0, depth = 0;
    bool   quoted = false;
    for (size_t i = 0; i < bytes; i++) {
        const char c = text[i];
        if (c == '"') quoted = !quoted;
        else if (quoted) i += c == '\\';
        else if (c == ',' || c == ':') taken += c == ',' ? ENTRY_BYTES : PAIR_BYTES;
        else if (c == '{' || c == '[') taken += c == '{' ? MAP_BYTES : LIST_BYTES, depth++;
        else if ((c == '}' || c == ']') && depth > 0) depth--;
        if (depth > DEEPEST) return "nested deeper than 2048 levels";
        if (taken > room) return "more than 24 times its size in memory; expected fewer lists and maps";
    }
    return NULL;
}

/* A real number that is a whole one as such, else NULL. */
static json_t *whole(const json_t *value)
{
    const double number = json_is_real(value) ? json_real_value(value) : 0.5;
    return floor(number) == number && fabs(number) < 0x1p53 ? json_integer((json_int_t)number) : NULL;
}

static void make_whole(json_t *parent)
{
    for (void *at = json_object_iter(parent); at; at = json_object_iter_next(parent, at)) {
        json_t *number = whole(json_object_iter_value(at));
        if (number) json_object_iter_set_new(parent, at, number);
        else make_whole(json_object_iter_value(at));
    }
    for (size_t i = 0; i < json_array_size(parent); i++) {
        json_t *number = whole(json_array_get(parent, i));
        if (number) json_array_set_new(parent, i, number);
        else make_whole(json_array_get(parent, i));
    }
}

/* Whole numbers beyond 64 bits (transformers writes 10^30 for a length without limit) become real ones. */
static json_t *parse(const char *text, size_t bytes, json_error_t *error)
{
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, error);
    if (root || json_error_code(error) != json_error_numeric_overflow) return root;
    root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, error);
    if (root) make_whole(root);
    return root;
}

cot_status cot_json_parse(const char *text, size_t bytes, const char *file, json_t **out)
{
    json_error_t error;
    *out = NULL;
    const char *excess = cot_json_excess(text, bytes);
    if (excess) return cot_fail(COT_FORMAT, "'%s': %s", file, excess);
    *out = parse(text, bytes, &error);
    if (*out) return COT_OK;
    char line[JSON_ERROR_TEXT_LENGTH];
    cot_json_error_line(&error, line, sizeof line);
    if (cot_json_out_of_memory(&error))
        return cot_fail(COT_OUT_OF_MEMORY, "'%s': no memory to parse it", file);
    return cot_fail(COT_FORMAT, "'%s', line %d, column %d: not JSON: %s", file, error.line, error.column, line);
}

cot_status cot_json_read(const char *path, size_t limit, json_t **out)
{
    *out = NULL;
    char  *text;
    size_t bytes;
    COT_TRY(cot_file_read(path, limit, &text, &bytes));
    const cot_status status = cot_json_parse(text, bytes, path, out);
    cot_free(text);
    return status;
}

json_t *cot_json_integers(const int64_t *values, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; list && i < count; i++) json_array_append_new(list, json_integer(values[i]));
    return list;
}

const char *cot_json_kind(const json_t *value)
{
    static const char *const kinds[] = {
        [JSON_OBJECT] = "a map", [JSON_ARRAY] = "a list", [JSON_STRING] = "a string", [JSON_INTEGER] = "a whole number",
        [JSON_REAL] = "a number", [JSON_TRUE] = "true", [JSON_FALSE] = "false", [JSON_NULL] = "null"};
    return value ? kinds[json_typeof(value)] : "absent";
}
