#include "formats/dialects/card_json.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "formats/json.h"

static const double LARGEST_SIZE = 2147483647.0;

/* Keys of every family; what differs between them is in their tables. */
static const cot_dialect_key shared_keys[] = {
    COT_KEY_MUST_BE("hidden_act", "\"silu\""),
    COT_KEY("bos_token_id", ID, bos_token_id, -1),
    COT_KEY("pad_token_id", ID, pad_token_id, -1),
    {.key = NULL},
};

static const char *const type_names[] = {
    [COT_F64] = "float64", [COT_F32] = "float32", [COT_BF16] = "bfloat16", [COT_F16] = "float16"};

static int64_t *int_field(const cot_dialect_key *key, cot_model_card *card)
{
    return (int64_t *)(void *)((char *)card + key->offset);
}
static double *real_field(const cot_dialect_key *key, cot_model_card *card)
{
    return (double *)(void *)((char *)card + key->offset);
}
static bool *bool_field(const cot_dialect_key *key, cot_model_card *card)
{
    return (bool *)(void *)((char *)card + key->offset);
}

/* ---- to JSON ---- */

static json_t *id_value(int64_t id) { return id < 0 ? json_null() : json_integer(id); }
static json_t *size_value(int64_t size) { return size == 0 ? json_null() : json_integer(size); }

static json_t *key_value(const cot_dialect_key *key, cot_model_card *card)
{
    switch (key->kind) {
    case COT_KEY_INT: return json_integer(*int_field(key, card));
    case COT_KEY_OPTIONAL: return size_value(*int_field(key, card));
    case COT_KEY_ID: return id_value(*int_field(key, card));
    case COT_KEY_REAL: return json_real(*real_field(key, card));
    case COT_KEY_BOOL: return json_boolean(*bool_field(key, card));
    case COT_KEY_FIXED: return json_loads(key->text, JSON_DECODE_ANY, NULL);
    case COT_KEY_IMPLIED: break;
    }
    return NULL;
}

static bool put_keys(const cot_dialect_key *keys, cot_model_card *card, json_t *root)
{
    for (const cot_dialect_key *key = keys; key->key; key++)
        if (key->kind != COT_KEY_IMPLIED && json_object_set_new(root, key->key, key_value(key, card)) != 0)
            return false;
    return true;
}

static json_t *eos_value(const cot_model_card *card)
{
    if (card->eos_count == 0) return json_null();
    if (card->eos_count == 1) return json_integer(card->eos_token_id[0]);
    json_t *list = json_array();
    for (int64_t i = 0; i < card->eos_count; i++) json_array_append_new(list, json_integer(card->eos_token_id[i]));
    return list;
}

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "no memory for a model's config.json"); }

cot_status cot_card_ids_to_json(const cot_model_card *card, json_t *root)
{
    if (card->bos_token_id >= 0 && json_object_set_new(root, "bos_token_id", id_value(card->bos_token_id)) != 0)
        return no_memory();
    if (card->eos_count > 0 && json_object_set_new(root, "eos_token_id", eos_value(card)) != 0) return no_memory();
    if (card->pad_token_id >= 0 && json_object_set_new(root, "pad_token_id", id_value(card->pad_token_id)) != 0)
        return no_memory();
    return COT_OK;
}

cot_status cot_card_to_json(const cot_dialect *dialect, const cot_model_card *card, json_t *root)
{
    const char *type = type_names[card->dtype];
    cot_model_card fields = *card;
    json_t *head = json_pack("{s:[s], s:s}", "architectures", dialect->architecture, "model_type", dialect->model_type);
    json_t    *tail = json_pack("{s:o, s:f, s:{s:f, s:s}, s:s, s:s}", "eos_token_id", eos_value(card), "rope_theta",
                                card->rope_theta, "rope_parameters", "rope_theta", card->rope_theta, "rope_type",
                                "default", "torch_dtype", type, "dtype", type);
    const bool done = head && tail && json_object_update(root, head) == 0 && put_keys(dialect->keys, &fields, root)
                      && put_keys(shared_keys, &fields, root) && json_object_update(root, tail) == 0;
    json_decref(head);
    json_decref(tail);
    return done ? COT_OK : no_memory();
}

/* ---- from JSON ---- */

typedef struct {
    const char *file;
    const char *model_type;
} place;

static cot_status expected(const place *at, const char *key, const json_t *value, const char *what)
{
    return cot_fail(COT_FORMAT, "'%s': %s is %s, expected %s", at->file, key, cot_json_kind(value), what);
}

static cot_status read_int(const place *at, const cot_dialect_key *key, const json_t *value, double least, int64_t *out)
{
    if (!json_is_integer(value)) return expected(at, key->key, value, "a whole number");
    const json_int_t number = json_integer_value(value);
    if ((double)number < least || (double)number > LARGEST_SIZE)
        return cot_fail(COT_FORMAT, "'%s': %s is %lld, expected %.0f to %.0f", at->file, key->key, (long long)number,
                        least, LARGEST_SIZE);
    *out = number;
    return COT_OK;
}

static cot_status read_fixed(const place *at, const cot_dialect_key *key, const json_t *value)
{
    json_t *wanted = json_loads(key->text, JSON_DECODE_ANY, NULL);
    if (!wanted) return no_memory();
    const bool right = json_equal(value, wanted);
    json_decref(wanted);
    if (right) return COT_OK;
    const char *text = json_string_value(value);
    return cot_fail(COT_FORMAT, "'%s': %s is %s%s%s; of type '%s' only models with %s are supported", at->file,
                    key->key, text ? "\"" : "", text ? text : cot_json_kind(value), text ? "\"" : "", at->model_type,
                    key->text);
}

static cot_status read_key(const place *at, const cot_dialect_key *key, const json_t *value, cot_model_card *card)
{
    switch (key->kind) {
    case COT_KEY_INT: return read_int(at, key, value, 1, int_field(key, card));
    case COT_KEY_OPTIONAL:
    case COT_KEY_ID: return read_int(at, key, value, 0, int_field(key, card));
    case COT_KEY_REAL:
        if (!json_is_number(value) || json_number_value(value) < 0)
            return expected(at, key->key, value, "a number from 0");
        *real_field(key, card) = json_number_value(value);
        return COT_OK;
    case COT_KEY_BOOL:
        if (!json_is_boolean(value)) return expected(at, key->key, value, "true or false");
        *bool_field(key, card) = json_is_true(value);
        return COT_OK;
    case COT_KEY_FIXED: return read_fixed(at, key, value);
    case COT_KEY_IMPLIED: break;
    }
    return COT_OK;
}

static void set_absent(const cot_dialect_key *key, bool null, cot_model_card *card)
{
    switch (key->kind) {
    case COT_KEY_INT: *int_field(key, card) = (int64_t)key->absent; break;
    case COT_KEY_OPTIONAL: *int_field(key, card) = null ? 0 : (int64_t)key->absent; break;
    case COT_KEY_ID: *int_field(key, card) = -1; break;
    case COT_KEY_REAL: *real_field(key, card) = key->absent; break;
    case COT_KEY_IMPLIED:
    case COT_KEY_BOOL: *bool_field(key, card) = key->absent != 0; break;
    case COT_KEY_FIXED: break;
    }
}

static cot_status read_keys(const place *at, const cot_dialect_key *keys, const json_t *root, cot_model_card *card)
{
    for (const cot_dialect_key *key = keys; key->key; key++) {
        const json_t *value = key->kind == COT_KEY_IMPLIED ? NULL : json_object_get(root, key->key);
        if (key->kind == COT_KEY_INT && key->absent == 0 && !value)
            return expected(at, key->key, value, "a whole number");
        if (!value || json_is_null(value)) set_absent(key, value != NULL, card);
        else COT_TRY(read_key(at, key, value, card));
    }
    return COT_OK;
}

/* One id or a list of them. */
static cot_status read_eos(const place *at, const json_t *root, cot_model_card *card)
{
    static const cot_dialect_key key = {.key = "eos_token_id"};
    const json_t *value = json_object_get(root, key.key);
    const size_t count = json_is_array(value) ? json_array_size(value) : value && !json_is_null(value);
    if (count > COT_MAX_EOS)
        return cot_fail(COT_FORMAT, "'%s': eos_token_id lists %zu tokens, expected at most %d", at->file, count,
                        COT_MAX_EOS);
    for (size_t i = 0; i < count; i++)
        COT_TRY(read_int(at, &key, json_is_array(value) ? json_array_get(value, i) : value, 0, &card->eos_token_id[i]));
    card->eos_count = (int64_t)count;
    return COT_OK;
}

/* The newer dictionary first, then the older pair of keys. */
static cot_status read_rope(const place *at, const json_t *root, double absent, cot_model_card *card)
{
    const json_t *newer = json_object_get(root, "rope_parameters"), *scaling = json_object_get(root, "rope_scaling");
    const json_t *kinds[] = {json_object_get(newer, "rope_type"), json_object_get(scaling, "rope_type"),
                             json_object_get(scaling, "type")};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (json_is_string(kinds[i]) && strcmp(json_string_value(kinds[i]), "default") != 0)
            return cot_fail(COT_FORMAT, "'%s': rotary positions of type '%s', expected 'default'", at->file,
                            json_string_value(kinds[i]));
    const json_t *theta = json_object_get(newer, "rope_theta");
    if (!theta) theta = json_object_get(root, "rope_theta");
    if (theta && (!json_is_number(theta) || json_number_value(theta) < 0))
        return expected(at, "rope_theta", theta, "a number from 0");
    card->rope_theta = theta ? json_number_value(theta) : absent;
    return COT_OK;
}

static void read_type(const json_t *root, cot_model_card *card)
{
    const char *name = json_string_value(json_object_get(root, "dtype"));
    if (!name) name = json_string_value(json_object_get(root, "torch_dtype"));
    for (size_t i = 0; name && i < sizeof type_names / sizeof *type_names; i++)
        if (strcmp(type_names[i], name) == 0) card->dtype = (cot_dtype)i;
}

/* What follows from other sizes, and whether they fit together. */
static cot_status settle_heads(const place *at, cot_model_card *card)
{
    if (card->num_heads < 1) return COT_OK;  /* ours may be without attention */
    if (card->num_kv_heads == 0) card->num_kv_heads = card->num_heads;
    if (card->num_heads % card->num_kv_heads != 0)
        return cot_fail(COT_FORMAT,
                        "'%s': num_key_value_heads is %lld, expected a divisor of num_attention_heads, %lld", at->file,
                        (long long)card->num_kv_heads, (long long)card->num_heads);
    if (card->head_dim == 0 && card->hidden_size % card->num_heads != 0)
        return cot_fail(COT_FORMAT,
                        "'%s': num_attention_heads is %lld, expected a divisor of hidden_size, %lld, or a head_dim",
                        at->file, (long long)card->num_heads, (long long)card->hidden_size);
    if (card->head_dim == 0) card->head_dim = card->hidden_size / card->num_heads;
    if (card->top_k > card->num_experts)
        return cot_fail(COT_FORMAT, "'%s': num_experts_per_tok is %lld, but there are only %lld experts", at->file,
                        (long long)card->top_k, (long long)card->num_experts);
    return COT_OK;
}

cot_status cot_card_from_json(const cot_dialect *dialect, const json_t *root, const char *file, cot_model_card *card)
{
    const place at = {.file = file, .model_type = dialect->model_type};
    const json_t *quantised = json_object_get(root, "quantization_config");
    *card = cot_model_card_empty();
    if (quantised && !json_is_null(quantised))
        return cot_fail(COT_FORMAT, "'%s': the weights are quantised (quantization_config), expected plain ones", file);
    COT_TRY(read_keys(&at, dialect->keys, root, card));
    COT_TRY(read_keys(&at, shared_keys, root, card));
    COT_TRY(read_eos(&at, root, card));
    COT_TRY(read_rope(&at, root, dialect->rope_theta, card));
    read_type(root, card);
    return settle_heads(&at, card);
}
