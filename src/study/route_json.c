#include "study/route_json.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/options.h"
#include "formats/json.h"

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

static bool is_matrix(const json_t *rows)
{
    const json_t *first = json_array_get(rows, 0);
    return json_is_array(rows) && json_is_array(first) && json_array_size(first) > 0 &&
           json_array_size(rows) <= INT32_MAX && json_array_size(first) <= INT32_MAX;
}

/* A matrix of tokens rows (0: as many as there are, then set) and columns likewise. `masks`: minus infinity is welcome. */
static cot_status read_matrix(const json_t *rows, const char *key, bool masks, cot_arena *arena, int64_t *tokens,
                              int64_t *columns, double **out)
{
    if (!is_matrix(rows)) return cot_fail(COT_FORMAT, "%s is no matrix, expected [[number, ...], ...]", key);
    const size_t count = json_array_size(rows), width = *columns ? (size_t)*columns : json_array_size(json_array_get(rows, 0));
    if (*tokens && count != (size_t)*tokens)
        return cot_fail(COT_SHAPE_MISMATCH, "%s has %zu rows, expected %" PRId64 ", one for each token", key, count, *tokens);
    for (size_t t = 0; t < count; t++) {
        const json_t *row = json_array_get(rows, t);
        if (!json_is_array(row) || json_array_size(row) != width)
            return cot_fail(COT_SHAPE_MISMATCH, "%s[%zu] has %zu numbers, expected %zu, one for each expert", key, t,
                            json_array_size(row), width);
    }
    *out = cot_arena_alloc(arena, count * width * sizeof **out);
    if (!*out) return no_memory();
    for (size_t t = 0; t < count; t++)
        for (size_t e = 0; e < width; e++)
            COT_TRY(read_number(json_array_get(json_array_get(rows, t), e), key, t, e, masks, *out + t * width + e));
    *tokens = (int64_t)count;
    *columns = (int64_t)width;
    return COT_OK;
}

static cot_status read_numbers(const json_t *list, const char *key, cot_arena *arena, int64_t count, double **out)
{
    if (!json_is_array(list) || json_array_size(list) != (size_t)count)
        return cot_fail(COT_SHAPE_MISMATCH, "%s is no list of %" PRId64 " numbers", key, count);
    *out = cot_arena_alloc(arena, (size_t)count * sizeof **out);
    if (!*out) return no_memory();
    for (int64_t i = 0; i < count; i++)
        if (!number_of(json_array_get(list, (size_t)i), *out + i) || !isfinite((*out)[i]))
            return cot_fail(COT_FORMAT, "%s[%" PRId64 "] is no finite number", key, i);
    return COT_OK;
}

/* Whole numbers from `least` to 2^31 - 1; count -1 = as many as there are, in *length. */
static cot_status read_integers(const json_t *list, const char *key, int64_t least, cot_arena *arena, int64_t count,
                                size_t *length, int32_t **out)
{
    *length = json_array_size(list);
    if (!json_is_array(list)) return cot_fail(COT_FORMAT, "%s is no list of whole numbers", key);
    if (count >= 0 && *length != (size_t)count)
        return cot_fail(COT_SHAPE_MISMATCH, "%s has %zu entries, expected %" PRId64 ", one for each row of logits", key,
                        *length, count);
    *out = cot_arena_alloc(arena, *length * sizeof **out);
    if (!*out) return no_memory();
    for (size_t i = 0; i < *length; i++) {
        const json_t *value = json_array_get(list, i);
        const json_int_t number = json_integer_value(value);
        if (!json_is_integer(value) || number < least || number > INT32_MAX)
            return cot_fail(COT_FORMAT, "%s[%zu] is no whole number from %" PRId64 " to %d", key, i, least, INT32_MAX);
        (*out)[i] = (int32_t)number;
    }
    return COT_OK;
}

/* Runs from their lengths, which sum to T. */
static cot_status read_runs(const json_t *list, const char *key, cot_arena *arena, int64_t tokens, cot_runs *out)
{
    int32_t *lengths = NULL;
    size_t count = 0;
    COT_TRY(read_integers(list, key, 0, arena, -1, &count, &lengths));
    int64_t *offset = cot_arena_alloc(arena, (count + 1) * sizeof *offset);
    if (!offset) return no_memory();
    offset[0] = 0;
    for (size_t i = 0; i < count; i++) offset[i + 1] = offset[i] + lengths[i];
    if (offset[count] != tokens)
        return cot_fail(COT_SHAPE_MISMATCH, "%s sum to %" PRId64 " tokens, expected %" PRId64, key, offset[count], tokens);
    *out = (cot_runs){(int64_t)count, offset};
    return COT_OK;
}

/* Where tokens stand in their sequences, and which id came before. */
static cot_status find_places(cot_arena *arena, bool given, cot_route_case *c)
{
    if (!given) c->position = cot_arena_alloc(arena, (size_t)c->tokens * sizeof *c->position);
    if (c->ids) c->previous = cot_arena_alloc(arena, (size_t)c->tokens * sizeof *c->previous);
    if (!c->position || (c->ids && !c->previous)) return no_memory();
    for (int64_t s = 0; s < cot_runs_number(c->sequences); s++) {
        const int64_t from = cot_runs_from(c->sequences, s), to = cot_runs_to(c->sequences, s, c->tokens);
        for (int64_t t = from; t < to; t++) {
            if (!given) c->position[t] = (int32_t)(t - from);
            if (c->ids) c->previous[t] = t > from ? c->ids[t - 1] : -1;
        }
    }
    return COT_OK;
}

static const char *const keys[] = {"logits",    "primary_logits", "noise",   "raw_noise_std", "tokens",     "labels",
                                   "targets",   "positions",      "reward",  "bias",          "thresholds", "sequences",
                                   "group",     "training"};
enum { KEYS = sizeof keys / sizeof *keys };

static const char *key_at(const void *list, size_t index) { return ((const char *const *)list)[index]; }

static cot_status check_keys(json_t *root)
{
    const char *key;
    json_t *value;
    char help[512];
    if (!json_is_object(root))
        return cot_fail(COT_FORMAT, "the router lab's input is no JSON object, expected {\"logits\": [[...]]}");
    json_object_foreach(root, key, value) {
        size_t i = 0;
        while (i < KEYS && strcmp(key, keys[i]) != 0) i++;
        if (i < KEYS) continue;
        cot_suggest("keys", key, KEYS, key_at, keys, help, sizeof help);
        return cot_fail(COT_FORMAT, "unknown key '%.60s'%s", key, help);
    }
    return json_object_get(root, "logits") ? COT_OK : cot_fail(COT_FORMAT, "the router lab's input has no \"logits\"");
}

static cot_status read_matrices(const json_t *root, cot_arena *arena, cot_route_case *c)
{
    const json_t *noise = json_object_get(root, "noise"), *raw = json_object_get(root, "raw_noise_std");
    const json_t *primary = json_object_get(root, "primary_logits");
    COT_TRY(read_matrix(json_object_get(root, "logits"), "logits", true, arena, &c->tokens, &c->columns, &c->logits));
    if (noise) COT_TRY(read_matrix(noise, "noise", false, arena, &c->tokens, &c->columns, &c->noise));
    if (raw) COT_TRY(read_matrix(raw, "raw_noise_std", false, arena, &c->tokens, &c->columns, &c->raw_noise_std));
    if (!primary) return COT_OK;
    return read_matrix(primary, "primary_logits", true, arena, &c->tokens, &c->primary_columns, &c->primary);
}

static cot_status read_vectors(const json_t *root, cot_arena *arena, cot_route_case *c)
{
    const struct {
        const char *key;
        int64_t     least;
        int32_t   **out;
    } integers[] = {{"tokens", 0, &c->ids}, {"labels", -1, &c->labels}, {"targets", -1, &c->targets},
                    {"positions", 0, &c->position}};
    const struct {
        const char *key;
        int64_t     count;
        double    **out;
    } numbers[] = {{"bias", c->columns, &c->bias}, {"thresholds", c->columns, &c->thresholds},
                   {"reward", c->tokens, &c->reward}};
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        const json_t *list = json_object_get(root, integers[i].key);
        size_t length;
        if (list) COT_TRY(read_integers(list, integers[i].key, integers[i].least, arena, c->tokens, &length, integers[i].out));
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const json_t *list = json_object_get(root, numbers[i].key);
        if (list) COT_TRY(read_numbers(list, numbers[i].key, arena, numbers[i].count, numbers[i].out));
    }
    return COT_OK;
}

static cot_status read_case(json_t *root, cot_arena *arena, cot_route_case *c)
{
    COT_TRY(check_keys(root));
    const json_t *training = json_object_get(root, "training"), *sequences = json_object_get(root, "sequences");
    const json_t *group = json_object_get(root, "group");
    COT_TRY(read_matrices(root, arena, c));
    COT_TRY(read_vectors(root, arena, c));
    if (training && !json_is_boolean(training))
        return cot_fail(COT_FORMAT, "training is no boolean, expected true or false");
    c->training = json_is_true(training);
    if (sequences) COT_TRY(read_runs(sequences, "sequences", arena, c->tokens, &c->sequences));
    if (group) COT_TRY(read_runs(group, "group", arena, c->tokens, &c->groups));
    return find_places(arena, c->position != NULL, c);
}

static cot_status parse_case(const char *json, size_t length, cot_arena *arena, cot_route_case *out)
{
    const char *excess = cot_json_excess(json, length);
    if (excess) return cot_fail(COT_FORMAT, "%s", excess);
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

cot_status cot_route_case_read(const char *json, size_t length, const char *name, cot_arena *arena, cot_route_case *out)
{
    *out = (cot_route_case){0};
    const cot_status status = parse_case(json, length, arena, out);
    return status == COT_OK || !name ? status : cot_fail(status, "%s: %s", name, cot_last_error());
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
    if (r->slots) {
        json_object_set_new(root, "dispatch", matrix_json(r->dispatch, r->tokens, r->slots));
        json_object_set_new(root, "combine", matrix_json(r->combine, r->tokens, r->slots));
    }
    if (r->bias) json_object_set_new(root, "bias", reals_json(r->bias, r->experts));
    if (!r->gradient_logits) return root;
    json_t *gradient = json_object();
    json_object_set_new(gradient, "logits", matrix_json(r->gradient_logits, r->tokens, r->columns));
    if (r->gradient_raw_noise_std)
        json_object_set_new(gradient, "raw_noise_std", matrix_json(r->gradient_raw_noise_std, r->tokens, r->columns));
    if (r->gradient_primary_logits)
        json_object_set_new(gradient, "primary_logits",
                            matrix_json(r->gradient_primary_logits, r->tokens, r->primary_columns));
    json_object_set_new(root, "gradient", gradient);
    return root;
}

cot_status cot_route_to_json(const cot_route_result *result, char **out)
{
    const size_t flags = JSON_REAL_PRECISION(17);
    *out = NULL;
    json_t *root = result_json(result);
    const size_t length = root ? json_dumpb(root, NULL, 0, flags) : 0;
    char *text = length ? cot_plain_malloc(length + 1) : NULL;
    if (text) {
        json_dumpb(root, text, length, flags);
        text[length] = '\0';
    }
    json_decref(root);
    if (!text) return no_memory();
    *out = text;
    return COT_OK;
}
