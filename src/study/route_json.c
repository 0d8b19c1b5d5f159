#include "study/route_json.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/options.h"

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "no memory for the router lab"); }

/* ---- numbers that JSON lacks: bare NaN, Infinity, -Infinity and 1e999 become strings that number_of() knows ---- */

static bool is_word(char c)
{
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.';
}

/* What to write for a bare word of JSON text; NULL = the word itself. */
static const char *stand_in(const char *word, size_t length)
{
    char text[64];
    if (length >= sizeof text) return NULL;
    memcpy(text, word, length);
    text[length] = '\0';
    if (strcmp(text, "NaN") == 0) return "\"nan\"";
    if (strcmp(text, "Infinity") == 0) return "\"inf\"";
    if (strcmp(text, "-Infinity") == 0) return "\"-inf\"";
    if (!((text[0] >= '0' && text[0] <= '9') || text[0] == '-')) return NULL;
    const double value = strtod(text, NULL);
    return isinf(value) ? (value < 0 ? "\"-inf\"" : "\"inf\"") : NULL;
}

/* Copies the text with stand-ins; `out` has room for twice the length and a little. Returns the new length. */
static size_t rewrite(const char *json, size_t length, char *out)
{
    size_t used = 0;
    bool quoted = false;
    for (size_t i = 0; i < length;) {
        size_t n = 1;
        if (quoted && json[i] == '\\' && i + 1 < length) n = 2;
        else if (json[i] == '"') quoted = !quoted;
        while (!quoted && is_word(json[i]) && i + n < length && is_word(json[i + n])) n++;
        const char *other = quoted ? NULL : stand_in(json + i, n);
        const size_t m = other ? strlen(other) : n;
        memcpy(out + used, other ? other : json + i, m);
        used += m;
        i += n;
    }
    return used;
}

/* ---- reading ---- */

static bool same_letters(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if ((*a | 32) != (*b | 32)) return false;
    return *a == *b;
}

/* A number, or one of the strings for what JSON cannot write. */
static bool number_of(const json_t *value, double *out)
{
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return true;
    }
    const char *text = json_string_value(value);
    if (!text) return false;
    const bool minus = *text == '-';
    const char *word = text + (minus || *text == '+');
    if (same_letters(word, "inf") || same_letters(word, "infinity")) *out = minus ? -INFINITY : INFINITY;
    else if (same_letters(word, "nan")) *out = NAN;
    else return false;
    return true;
}

static cot_status read_number(const json_t *value, const char *key, size_t t, size_t e, bool masks, double *out)
{
    if (!number_of(value, out))
        return cot_fail(COT_FORMAT, "%s[%zu][%zu] is %s, expected a number%s", key, t, e,
                        json_is_null(value) ? "null" : "no number", masks ? " or \"-inf\"" : "");
    if (isfinite(*out) || (masks && *out == -INFINITY)) return COT_OK;
    return cot_fail(COT_NOT_FINITE, "%s[%zu][%zu] is %s, expected a finite number%s", key, t, e,
                    isnan(*out) ? "NaN" : *out > 0 ? "infinite" : "-inf",
                    masks ? " (or \"-inf\" to mask the expert)" : "");
}

/* A T x E matrix; the first one read (tokens = 0) sets the sizes. */
static cot_status read_matrix(const json_t *rows, const char *key, bool masks, cot_arena *arena, cot_route_case *c,
                              double **out)
{
    const size_t count = json_array_size(rows);
    const size_t experts = c->tokens ? (size_t)c->experts : json_array_size(json_array_get(rows, 0));
    if (!json_is_array(rows) || count == 0 || experts == 0)
        return cot_fail(COT_FORMAT, "%s is no matrix, expected [[number, ...], ...]", key);
    if (count > INT32_MAX || experts > INT32_MAX || (c->tokens && count != (size_t)c->tokens))
        return cot_fail(COT_SHAPE_MISMATCH, "%s has %zu rows, expected %" PRId64 ", one for each token", key, count,
                        c->tokens);
    for (size_t t = 0; t < count; t++) {
        const json_t *row = json_array_get(rows, t);
        if (!json_is_array(row) || json_array_size(row) != experts)
            return cot_fail(COT_SHAPE_MISMATCH, "%s[%zu] has %zu numbers, expected %zu, one for each expert", key, t,
                            json_array_size(row), experts);
    }
    *out = cot_arena_alloc(arena, count * experts * sizeof **out);
    if (!*out) return no_memory();
    for (size_t t = 0; t < count; t++)
        for (size_t e = 0; e < experts; e++)
            COT_TRY(read_number(json_array_get(json_array_get(rows, t), e), key, t, e, masks, *out + t * experts + e));
    c->tokens = (int64_t)count;
    c->experts = (int64_t)experts;
    return COT_OK;
}

/* Whole numbers from 0 to 2^31 - 1. */
static cot_status read_integers(const json_t *list, const char *key, cot_arena *arena, int32_t **out)
{
    const size_t count = json_array_size(list);
    if (!json_is_array(list)) return cot_fail(COT_FORMAT, "%s is no list of whole numbers", key);
    *out = cot_arena_alloc(arena, count * sizeof **out);
    if (!*out) return no_memory();
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(list, i);
        const json_int_t number = json_integer_value(value);
        if (!json_is_integer(value) || number < 0 || number > INT32_MAX)
            return cot_fail(COT_FORMAT, "%s[%zu] is no whole number from 0 to %d", key, i, INT32_MAX);
        (*out)[i] = (int32_t)number;
    }
    return COT_OK;
}

static cot_status read_tokens(const json_t *list, cot_arena *arena, cot_route_case *c)
{
    COT_TRY(read_integers(list, "tokens", arena, &c->ids));
    if (json_array_size(list) == (size_t)c->tokens) return COT_OK;
    return cot_fail(COT_SHAPE_MISMATCH, "tokens has %zu ids, expected %" PRId64 ", one for each row of logits",
                    json_array_size(list), c->tokens);
}

/* Fills first from the lengths of sequences; list NULL = one sequence. */
static cot_status read_sequences(const json_t *list, cot_arena *arena, cot_route_case *c)
{
    int32_t *lengths = NULL;
    int64_t start = 0;
    c->first = cot_arena_alloc(arena, (size_t)c->tokens * sizeof *c->first);
    if (!c->first) return no_memory();
    memset(c->first, 0, (size_t)c->tokens * sizeof *c->first);
    if (!list) return COT_OK;
    COT_TRY(read_integers(list, "sequences", arena, &lengths));
    for (size_t s = 0; s < json_array_size(list); s++) {
        for (int64_t t = start; t < start + lengths[s] && t < c->tokens; t++) c->first[t] = (int32_t)start;
        start += lengths[s];
    }
    if (start == c->tokens) return COT_OK;
    return cot_fail(COT_SHAPE_MISMATCH, "sequences sum to %" PRId64 " tokens, expected %" PRId64, start, c->tokens);
}

static const char *const keys[] = {"logits", "noise", "raw_noise_std", "tokens", "sequences", "training"};
enum { KEYS = sizeof keys / sizeof *keys };

static const char *key_at(const void *list, size_t index) { return ((const char *const *)list)[index]; }

static cot_status check_keys(json_t *root)
{
    const char *key;
    json_t *value;
    if (!json_is_object(root))
        return cot_fail(COT_FORMAT, "the router lab's input is no JSON object, expected {\"logits\": [[...]]}");
    json_object_foreach(root, key, value) {
        size_t i = 0;
        while (i < KEYS && strcmp(key, keys[i]) != 0) i++;
        if (i < KEYS) continue;
        const char *near = cot_nearest(key, KEYS, key_at, keys);
        return cot_fail(COT_FORMAT, "unknown key \"%.60s\", expected logits, noise, raw_noise_std, tokens, sequences "
                                    "or training%s%s%s",
                        key, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    return json_object_get(root, "logits") ? COT_OK : cot_fail(COT_FORMAT, "the router lab's input has no \"logits\"");
}

static cot_status read_case(json_t *root, cot_arena *arena, cot_route_case *c)
{
    const json_t *noise = json_object_get(root, "noise"), *raw = json_object_get(root, "raw_noise_std");
    const json_t *ids = json_object_get(root, "tokens");
    const json_t *training = json_object_get(root, "training");
    COT_TRY(check_keys(root));
    COT_TRY(read_matrix(json_object_get(root, "logits"), "logits", true, arena, c, &c->logits));
    if (noise) COT_TRY(read_matrix(noise, "noise", false, arena, c, &c->noise));
    if (raw) COT_TRY(read_matrix(raw, "raw_noise_std", false, arena, c, &c->raw_noise_std));
    if (ids) COT_TRY(read_tokens(ids, arena, c));
    if (training && !json_is_boolean(training))
        return cot_fail(COT_FORMAT, "training is no boolean, expected true or false");
    c->training = json_is_true(training);
    return read_sequences(json_object_get(root, "sequences"), arena, c);
}

cot_status cot_route_case_read(const char *json, size_t length, cot_arena *arena, cot_route_case *out)
{
    *out = (cot_route_case){0};
    char *text = length <= SIZE_MAX / 4 ? cot_malloc(2 * length + 16) : NULL;
    if (!text) return no_memory();
    json_error_t error;
    json_t *root = json_loadb(text, rewrite(json, length, text), JSON_REJECT_DUPLICATES, &error);
    cot_free(text);
    if (!root) return cot_fail(COT_FORMAT, "the router lab's input is not JSON: line %d: %s", error.line, error.text);
    const cot_status status = read_case(root, arena, out);
    json_decref(root);
    return status;
}

/* ---- writing ---- */

static json_t *assignments_json(const cot_route_result *r)
{
    json_t *list = json_array();
    for (int64_t a = 0; a < r->assignments; a++)
        if (r->slot[a] >= 0)
            json_array_append_new(list, json_pack("{s:i, s:i, s:f, s:i}", "token", r->token[a], "expert", r->expert[a],
                                                  "gate", r->gate[a], "slot", r->slot[a]));
    return list;
}

static json_t *dropped_json(const cot_route_result *r)
{
    json_t *list = json_array();
    for (int64_t a = 0; a < r->assignments; a++)
        if (r->slot[a] < 0)
            json_array_append_new(list, json_pack("{s:i, s:i}", "token", r->token[a], "expert", r->expert[a]));
    return list;
}

static json_t *reals_json(const double *values, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) json_array_append_new(list, json_real(values[i]));
    return list;
}

static json_t *matrix_json(const double *values, int64_t rows, int64_t columns)
{
    json_t *list = json_array();
    for (int64_t r = 0; r < rows; r++) json_array_append_new(list, reals_json(values + r * columns, columns));
    return list;
}

static json_t *losses_json(const cot_route_result *r)
{
    json_t *losses = json_object();
    for (size_t i = 0; i < r->loss_count; i++) json_object_set_new(losses, r->loss_name[i], json_real(r->loss[i]));
    return losses;
}

static json_t *result_json(const cot_route_result *r)
{
    json_t *root = json_object(), *load = json_array();
    for (int64_t e = 0; e < r->experts; e++) json_array_append_new(load, json_integer(r->load[e]));
    json_object_set_new(root, "assignments", assignments_json(r));
    json_object_set_new(root, "dropped", dropped_json(r));
    json_object_set_new(root, "load", load);
    json_object_set_new(root, "importance", reals_json(r->importance, r->experts));
    json_object_set_new(root, "losses", losses_json(r));
    json_object_set_new(root, "capacity", r->capacity >= 0 ? json_integer(r->capacity) : json_null());
    if (!r->gradient_logits) return root;
    json_t *gradient = json_object();
    json_object_set_new(gradient, "logits", matrix_json(r->gradient_logits, r->tokens, r->experts));
    if (r->gradient_raw_noise_std)
        json_object_set_new(gradient, "raw_noise_std", matrix_json(r->gradient_raw_noise_std, r->tokens, r->experts));
    json_object_set_new(root, "gradient", gradient);
    return root;
}

cot_status cot_route_to_json(const cot_route_result *result, char **out)
{
    const size_t flags = JSON_REAL_PRECISION(17);
    *out = NULL;
    json_t *root = result_json(result);
    const size_t length = root ? json_dumpb(root, NULL, 0, flags) : 0;
    char *text = length ? malloc(length + 1) : NULL;
    if (text) {
        json_dumpb(root, text, length, flags);
        text[length] = '\0';
    }
    json_decref(root);
    if (!text) return no_memory();
    *out = text;
    return COT_OK;
}
