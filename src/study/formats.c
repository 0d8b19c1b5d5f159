/* The tables of published families (formats/dialects/) for `coterie list formats` and docs/formats.md. */
#include <coterie/registry.h>

#include <jansson.h>

#include "base/fail.h"
#include "formats/dialects/dialect.h"

static json_t *rules(const cot_dialect *dialect)
{
    json_t *list = json_array();
    for (int i = 0; i < COT_TRAITS; i++) {
        const bool always = dialect->must >> i & 1, at_times = dialect->may >> i & 1;
        json_array_append_new(list, json_string(always ? "always" : at_times ? "may" : "never"));
    }
    return list;
}

static json_t *tensors(const cot_dialect_tensor *row)
{
    json_t *list = json_array();
    for (; row && row->ours; row++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "ours", row->ours, "published", row->published));
    return list;
}

static json_t *keys(const cot_dialect_key *key)
{
    json_t *list = json_array();
    for (; key->key; key++) {
        if (key->kind == COT_KEY_IMPLIED) continue;
        const bool number = key->kind == COT_KEY_INT || key->kind == COT_KEY_OPTIONAL || key->kind == COT_KEY_REAL;
        json_t *absent = number && key->absent != 0  ? json_real(key->absent)
                         : key->kind == COT_KEY_BOOL ? json_boolean(key->absent != 0)
                                                     : json_null();
        json_array_append_new(list, json_pack("{s:s, s:s?, s:s?, s:s?, s:o}", "key", key->key, "also", key->also,
                                              "field", key->field, "only", key->text, "absent", absent));
    }
    return list;
}

static json_t *describe(const cot_dialect *d)
{
    return json_pack("{s:s, s:s, s:s?, s:o, s:o, s:o, s:o}", "model_type", d->model_type, "architecture",
                     d->architecture, "source", d->source, "rules", rules(d), "tensors", tensors(d->tensors), "joined",
                     tensors(d->joined), "keys", keys(d->keys));
}

cot_status cot_registry_formats(char **out)
{
    json_t *traits = json_array(), *formats = json_array();
    for (int i = 0; i < COT_TRAITS; i++) json_array_append_new(traits, json_string(cot_trait_text(i)));
    for (size_t i = 0; cot_dialect_at(i); i++) json_array_append_new(formats, describe(cot_dialect_at(i)));
    json_t *root = json_pack("{s:o, s:o}", "traits", traits, "formats", formats);
    *out = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    return *out ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for a list of formats");
}
