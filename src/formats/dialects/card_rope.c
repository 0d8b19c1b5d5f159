/* Rotary positions in config.json. */
#include <string.h>

#include "base/fail.h"
#include "formats/dialects/card_keys.h"
#include "formats/json.h"

/* The fields of cot_rope_scaling and the types that have them. What is absent without a default is found below. */
enum { YARN = 1 << COT_ROPE_YARN, LLAMA3 = 1 << COT_ROPE_LLAMA3, ALL = 0xfffe };

static const struct {
    unsigned        types;
    cot_dialect_key key;
} fields[] = {
    {ALL, COT_KEY("factor", REAL, rope.factor, 0)},
    {YARN | LLAMA3, COT_KEY("original_max_position_embeddings", OPTIONAL, rope.original_max_position_embeddings, 0)},
    {YARN, COT_KEY("attention_factor", REAL, rope.attention_factor, 0)},
    {YARN, COT_KEY("beta_fast", REAL, rope.beta_fast, 32)},
    {YARN, COT_KEY("beta_slow", REAL, rope.beta_slow, 1)},
    {YARN, COT_KEY("mscale", REAL, rope.mscale, 0)},
    {YARN, COT_KEY("mscale_all_dim", REAL, rope.mscale_all_dim, 0)},
    {YARN, COT_KEY("truncate", BOOL, rope.truncate, 1)},
    {LLAMA3, COT_KEY("low_freq_factor", REAL, rope.low_freq_factor, 0)},
    {LLAMA3, COT_KEY("high_freq_factor", REAL, rope.high_freq_factor, 0)},
};

enum { FIELDS = sizeof fields / sizeof *fields };

/* The index-th of "a|b|c": its length, 0 past the end. */
static size_t type_name(int32_t index, const char **name)
{
    *name = COT_ROPE_TYPE_NAMES;
    while (index-- > 0 && **name) {
        *name += strcspn(*name, "|");
        *name += **name == '|';
    }
    return strcspn(*name, "|");
}

/* ---- to JSON ---- */

/* Numbers that are 0 follow from others, and are left out. */
static bool is_left_out(const cot_dialect_key *key, const cot_model_card *card)
{
    const void *at = (const char *)card + key->offset;
    return key->kind == COT_KEY_REAL && *(const double *)at == 0;
}

json_t *cot_rope_json(const cot_model_card *card)
{
    const char  *name;
    const size_t length = type_name(card->rope.rope_type, &name);
    json_t      *map = json_pack("{s:s%}", "rope_type", name, length);
    for (int i = 0; map && i < FIELDS; i++) {
        const cot_dialect_key one[] = {fields[i].key, {.key = NULL}};
        if (!(fields[i].types >> card->rope.rope_type & 1) || is_left_out(one, card)) continue;
        if (cot_keys_put(one, card, map)) continue;
        json_decref(map);
        return NULL;
    }
    return map;
}

bool cot_rope_put(const cot_model_card *card, json_t *root)
{
    json_t *older = cot_rope_json(card), *newer = cot_rope_json(card);
    const bool scaled = card->rope.rope_type != COT_ROPE_DEFAULT;
    bool done = older && newer && json_object_set_new(newer, "rope_theta", json_real(card->rope_theta)) == 0
                && json_object_set_new(root, "rope_theta", json_real(card->rope_theta)) == 0
                && json_object_set(root, "rope_parameters", newer) == 0;
    if (done && scaled) done = json_object_set(root, "rope_scaling", older) == 0;
    json_decref(older);
    json_decref(newer);
    return done;
}

/* ---- from JSON ---- */

static cot_status read_rope_type(const cot_json_place *at, const json_t *map, cot_rope_scaling *rope)
{
    const json_t *value = json_object_get(map, "rope_type");
    if (!value) value = json_object_get(map, "type");
    if (!value || json_is_null(value)) return COT_OK;
    const char *text = json_string_value(value), *name;
    if (!text) return cot_json_expected(at, "rope_type", value, "a text");
    size_t length;
    for (int32_t i = 0; (length = type_name(i, &name)) > 0; i++)
        if (strlen(text) == length && memcmp(text, name, length) == 0) {
            rope->rope_type = i;
            return COT_OK;
        }
    return cot_fail(COT_FORMAT, "'%s': rotary positions of type '%.60s', expected one of " COT_ROPE_TYPE_NAMES,
                    at->file, text);
}

/* Some models turn a part of each head only, or differently from layer to layer. */
static cot_status refuse_others(const cot_json_place *at, const json_t *root, const json_t *map)
{
    static const char part[] = "partial_rotary_factor";
    const json_t *values[] = {json_object_get(map, part), json_object_get(root, part)}, *value;
    const char *key;
    for (int i = 0; i < 2; i++)
        if (json_is_number(values[i]) && json_number_value(values[i]) != 1)
            return cot_fail(COT_FORMAT, "'%s': %s is %g, expected 1", at->file, part, json_number_value(values[i]));
    json_object_foreach((json_t *)map, key, value)
        if (json_is_object(value))
            return cot_fail(COT_FORMAT, "'%s': rotary positions of their own for '%.60s', expected the same everywhere",
                            at->file, key);
    return COT_OK;
}

static cot_status read_theta(const cot_json_place *at, const json_t *root, const json_t *newer, double absent,
                             double *out)
{
    const json_t *theta = json_object_get(newer, "rope_theta");
    if (!theta || json_is_null(theta)) theta = json_object_get(root, "rope_theta");
    *out = absent;
    if (!theta || json_is_null(theta)) return COT_OK;
    if (!json_is_number(theta) || json_number_value(theta) < 0)
        return cot_json_expected(at, "rope_theta", theta, "a number from 0");
    *out = json_number_value(theta);
    return COT_OK;
}

static cot_status read_fields(const cot_json_place *at, const json_t *map, cot_model_card *card)
{
    cot_rope_scaling *rope = &card->rope;
    for (int i = 0; i < FIELDS; i++) {
        const cot_dialect_key one[] = {fields[i].key, {.key = NULL}};
        if (fields[i].types >> rope->rope_type & 1) COT_TRY(cot_keys_read(at, one, map, card));
    }
    if (!rope->original_max_position_embeddings && rope->rope_type != COT_ROPE_LINEAR)
        rope->original_max_position_embeddings = card->max_position;
    if (rope->factor == 0 && rope->rope_type == COT_ROPE_YARN)
        rope->factor = (double)card->max_position / (double)rope->original_max_position_embeddings;
    return COT_OK;
}

cot_status cot_rope_read(const cot_json_place *at, const json_t *root, double absent_theta, cot_model_card *card)
{
    const json_t *newer = json_object_get(root, "rope_parameters"), *older = json_object_get(root, "rope_scaling");
    const json_t *map = newer && !json_is_null(newer) ? newer : older;
    COT_TRY(read_theta(at, root, newer, absent_theta, &card->rope_theta));
    if (!map || json_is_null(map)) return COT_OK;
    const char *key = map == newer ? "rope_parameters" : "rope_scaling";
    if (!json_is_object(map)) return cot_json_expected(at, key, map, "a map");
    COT_TRY(refuse_others(at, root, map));
    COT_TRY(read_rope_type(at, map, &card->rope));
    if (card->rope.rope_type == COT_ROPE_DEFAULT) return COT_OK;
    COT_TRY(read_fields(at, map, card));
    const char *wanted = cot_rope_fault(&card->rope, card->rope_theta, (int32_t)card->head_dim);
    return wanted ? cot_fail(COT_FORMAT, "'%s': its scaled rotary positions cannot work, expected %s", at->file, wanted)
                  : COT_OK;
}
