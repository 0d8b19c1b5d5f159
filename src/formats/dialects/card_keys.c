#include "formats/dialects/card_keys.h"

#include <string.h>

#include "base/fail.h"
#include "formats/json.h"

static const double LARGEST_SIZE = 2147483647.0;
static const char   FULL[] = "full_attention", SLIDING[] = "sliding_attention";

static void    *field(const cot_dialect_key *key, cot_model_card *card) { return (char *)card + key->offset; }
static int64_t *int_field(const cot_dialect_key *key, cot_model_card *card) { return field(key, card); }
static double  *real_field(const cot_dialect_key *key, cot_model_card *card) { return field(key, card); }
static bool    *bool_field(const cot_dialect_key *key, cot_model_card *card) { return field(key, card); }

cot_status cot_keys_no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "no memory for a model's config.json"); }

/* ---- to JSON ---- */

static json_t *layers_value(const cot_layer_set *set, int64_t layers)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < layers; i++)
        if (cot_layer_in(set, i)) json_array_append_new(list, json_integer(i));
    return list;
}

static json_t *types_value(const cot_layer_set *full, const cot_model_card *card)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < card->num_layers; i++)
        json_array_append_new(list, json_string(card->sliding_window == 0 || cot_layer_in(full, i) ? FULL : SLIDING));
    return list;
}

static json_t *key_value(const cot_dialect_key *key, cot_model_card *card)
{
    switch (key->kind) {
    case COT_KEY_INT: return json_integer(*int_field(key, card) ? *int_field(key, card) : (int64_t)key->absent);
    case COT_KEY_OPTIONAL: return *int_field(key, card) ? json_integer(*int_field(key, card)) : json_null();
    case COT_KEY_ID: return *int_field(key, card) < 0 ? json_null() : json_integer(*int_field(key, card));
    case COT_KEY_REAL: return json_real(*real_field(key, card));
    case COT_KEY_BOOL: return json_boolean(*bool_field(key, card));
    case COT_KEY_USED: return json_boolean(*int_field(key, card) != 0);
    case COT_KEY_LAYERS: return layers_value(field(key, card), card->num_layers);
    case COT_KEY_STEP: return json_integer(1);
    case COT_KEY_LAYER_TYPES: return types_value(field(key, card), card);
    case COT_KEY_FIXED: return json_loads(key->text, JSON_DECODE_ANY, NULL);
    case COT_KEY_IMPLIED: break;
    }
    return NULL;
}

bool cot_keys_put(const cot_dialect_key *keys, const cot_model_card *card, json_t *root)
{
    cot_model_card fields = *card;
    for (const cot_dialect_key *key = keys; key->key; key++)
        if (key->kind != COT_KEY_IMPLIED && json_object_set_new(root, key->key, key_value(key, &fields)) != 0)
            return false;
    return true;
}

/* ---- from JSON ---- */

cot_status cot_json_expected(const cot_json_place *at, const char *key, const json_t *value, const char *what)
{
    return cot_fail(COT_FORMAT, "'%s': %s is %s, expected %s", at->file, key, cot_json_kind(value), what);
}

static cot_status read_limited(const cot_json_place *at, const char *key, const json_t *value, double least,
                               double most, int64_t *out)
{
    if (!json_is_integer(value)) return cot_json_expected(at, key, value, "a whole number");
    const json_int_t number = json_integer_value(value);
    if ((double)number < least || (double)number > most)
        return cot_fail(COT_FORMAT, "'%s': %s is %lld, expected %.0f to %.0f", at->file, key, (long long)number, least,
                        most);
    *out = number;
    return COT_OK;
}

cot_status cot_json_int(const cot_json_place *at, const char *key, const json_t *value, double least, int64_t *out)
{
    return read_limited(at, key, value, least, LARGEST_SIZE, out);
}

static cot_status read_fixed(const cot_json_place *at, const cot_dialect_key *key, const json_t *value)
{
    json_t *wanted = json_loads(key->text, JSON_DECODE_ANY, NULL);
    if (!wanted) return cot_keys_no_memory();
    const bool right = json_equal(value, wanted);
    json_decref(wanted);
    if (right) return COT_OK;
    const char *text = json_string_value(value);
    return cot_fail(COT_FORMAT, "'%s': %s is %s%.60s%s; of type '%s' only models with %s are supported", at->file,
                    key->key, text ? "\"" : "", text ? text : cot_json_kind(value), text ? "\"" : "", at->model_type,
                    key->text);
}

static cot_status read_layers(const cot_json_place *at, const cot_dialect_key *key, const json_t *value,
                              const cot_model_card *card, cot_layer_set *set)
{
    if (!json_is_array(value)) return cot_json_expected(at, key->key, value, "a list of layers");
    for (size_t i = 0; i < json_array_size(value); i++) {
        int64_t layer;
        COT_TRY(read_limited(at, key->key, json_array_get(value, i), 0, (double)card->num_layers - 1, &layer));
        cot_layer_add(set, layer);
    }
    return COT_OK;
}

static cot_status read_step(const cot_json_place *at, const cot_dialect_key *key, const json_t *value,
                            const cot_model_card *card, cot_layer_set *set)
{
    int64_t step;
    COT_TRY(cot_json_int(at, key->key, value, 1, &step));
    for (int64_t i = 0; i < card->num_layers; i++)
        if ((i + 1) % step != 0) cot_layer_add(set, i);
    return COT_OK;
}

static cot_status read_types(const cot_json_place *at, const cot_dialect_key *key, const json_t *value,
                             const cot_model_card *card, cot_layer_set *full)
{
    if (!json_is_array(value) || json_array_size(value) != (size_t)card->num_layers)
        return cot_fail(COT_FORMAT, "'%s': %s is %s of %zu, expected a kind for each of %lld layers", at->file,
                        key->key, cot_json_kind(value), json_array_size(value), (long long)card->num_layers);
    for (int64_t i = 0; i < card->num_layers; i++) {
        const char *type = json_string_value(json_array_get(value, (size_t)i));
        if (type && strcmp(type, FULL) == 0) cot_layer_add(full, i);
        else if (!type || strcmp(type, SLIDING) != 0)
            return cot_fail(COT_FORMAT, "'%s': %s[%lld] is '%.60s', expected %s or %s", at->file, key->key,
                            (long long)i, type ? type : "no text", FULL, SLIDING);
    }
    return COT_OK;
}

static cot_status read_key(const cot_json_place *at, const cot_dialect_key *key, const json_t *value,
                           cot_model_card *card)
{
    const bool layers = key->kind == COT_KEY_INT && key->offset == offsetof(cot_model_card, num_layers);
    switch (key->kind) {
    case COT_KEY_INT:
        return read_limited(at, key->key, value, 1, layers ? COT_MAX_LAYERS : LARGEST_SIZE, int_field(key, card));
    case COT_KEY_OPTIONAL:
    case COT_KEY_ID: return cot_json_int(at, key->key, value, 0, int_field(key, card));
    case COT_KEY_REAL:
        if (!json_is_number(value) || json_number_value(value) < 0)
            return cot_json_expected(at, key->key, value, "a number from 0");
        *real_field(key, card) = json_number_value(value);
        return COT_OK;
    case COT_KEY_BOOL:
    case COT_KEY_USED:
        if (!json_is_boolean(value)) return cot_json_expected(at, key->key, value, "true or false");
        if (key->kind == COT_KEY_BOOL) *bool_field(key, card) = json_is_true(value);
        else if (!json_is_true(value)) *int_field(key, card) = 0;
        return COT_OK;
    case COT_KEY_LAYERS: return read_layers(at, key, value, card, field(key, card));
    case COT_KEY_STEP: return read_step(at, key, value, card, field(key, card));
    case COT_KEY_LAYER_TYPES:
        return card->sliding_window ? read_types(at, key, value, card, field(key, card)) : COT_OK;
    case COT_KEY_FIXED: return read_fixed(at, key, value);
    case COT_KEY_IMPLIED: break;
    }
    return COT_OK;
}

static cot_status set_absent(const cot_json_place *at, const cot_dialect_key *key, bool null, cot_model_card *card)
{
    switch (key->kind) {
    case COT_KEY_INT:
        if (key->absent == 0) return cot_json_expected(at, key->key, NULL, "a whole number");
        *int_field(key, card) = (int64_t)key->absent;
        break;
    case COT_KEY_OPTIONAL: *int_field(key, card) = null ? 0 : (int64_t)key->absent; break;
    case COT_KEY_ID: *int_field(key, card) = -1; break;
    case COT_KEY_REAL: *real_field(key, card) = key->absent; break;
    case COT_KEY_IMPLIED:
    case COT_KEY_BOOL: *bool_field(key, card) = key->absent != 0; break;
    case COT_KEY_USED: *int_field(key, card) = 0; break;
    case COT_KEY_LAYER_TYPES:  /* versions of transformers differ in what they make of this */
        if (card->sliding_window)
            return cot_fail(COT_FORMAT, "'%s': a sliding window without %s, expected a kind for each layer", at->file,
                            key->key);
        break;
    case COT_KEY_LAYERS:
    case COT_KEY_STEP:
    case COT_KEY_FIXED: break;
    }
    return COT_OK;
}

cot_status cot_keys_read(const cot_json_place *at, const cot_dialect_key *keys, const json_t *root,
                         cot_model_card *card)
{
    for (const cot_dialect_key *key = keys; key->key; key++) {
        const json_t *value = key->kind == COT_KEY_IMPLIED ? NULL : json_object_get(root, key->key);
        if (!value && key->also) value = json_object_get(root, key->also);
        if (!value || json_is_null(value)) COT_TRY(set_absent(at, key, value != NULL, card));
        else COT_TRY(read_key(at, key, value, card));
    }
    return COT_OK;
}
