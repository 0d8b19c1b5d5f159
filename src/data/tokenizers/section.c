#include "data/tokenizers/section.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/growing.h"
#include "data/tokenizers/vocabulary.h"

cot_status cot_section_type(const json_t *section, const char *where, const char *name, const char **type)
{
    const json_t *value = json_object_get(section, "type");
    *type = json_string_value(value);
    if (*type) return COT_OK;
    return cot_fail(COT_FORMAT, "%s: %s.type is %s, expected a text", name, where, cot_json_kind(value));
}

cot_status cot_section_flag(const json_t *section, const char *key, bool fallback, const char *where, const char *name,
                            bool *out)
{
    const json_t *value = json_object_get(section, key);
    *out = value && !json_is_null(value) ? json_is_true(value) : fallback;
    if (!value || json_is_null(value) || json_is_boolean(value)) return COT_OK;
    return cot_fail(COT_FORMAT, "%s: %s.%s is %s, expected true or false", name, where, key, cot_json_kind(value));
}

/* A text as a pattern that matches it alone. */
static cot_status literal_pattern(const char *text, const char *place, cot_pattern *out)
{
    cot_buffer escaped = {0};
    cot_status status = COT_OK;
    for (; *text && status == COT_OK; text++) {
        const bool sign = (unsigned char)*text < 0x80 && strchr("\\.[](){}*+?|^$-", *text);
        if ((sign && !cot_buffer_add(&escaped, "\\", 1)) || !cot_buffer_add(&escaped, text, 1))
            status = cot_fail(COT_OUT_OF_MEMORY, "%s: a pattern", place);
    }
    if (status == COT_OK) status = cot_pattern_compile(escaped.bytes, escaped.length, place, out);
    cot_free(escaped.bytes);
    return status;
}

cot_status cot_section_pattern(const json_t *section, const char *where, const char *name, cot_pattern *out)
{
    const json_t *regex = json_object_get(section, "Regex"), *literal = json_object_get(section, "String");
    char          place[512];
    snprintf(place, sizeof place, "%s: %s", name, where);
    if (json_is_string(regex))
        return cot_pattern_compile(json_string_value(regex), json_string_length(regex), place, out);
    if (json_is_string(literal) && json_string_length(literal))
        return literal_pattern(json_string_value(literal), place, out);
    return cot_fail(COT_FORMAT, "%s is %s, expected {\"Regex\": ...} or {\"String\": ...}", place,
                    cot_json_kind(section));
}

/* ---- all of them ---- */

static cot_status keep_text(cot_tokenizer *t, const json_t *root, cot_section section, const char *name)
{
    const json_t *value = json_object_get(root, cot_section_names[section]);
    if (!value || json_is_null(value)) return COT_OK;
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    t->sections[section] = text ? cot_strdup(text) : NULL;
    free(text);
    return t->sections[section] ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "%s: a tokenizer", name);
}

cot_status cot_sections_read(cot_tokenizer *t, const json_t *root, const char *name)
{
    const json_t *part[COT_SECTIONS];
    for (int i = 0; i < COT_SECTIONS; i++) {
        COT_TRY(keep_text(t, root, (cot_section)i, name));
        part[i] = json_object_get(root, cot_section_names[i]);
    }
    COT_TRY(cot_normalizer_read(&t->normalizer, part[COT_SECTION_NORMALIZER], name));
    COT_TRY(cot_splitter_read(&t->splitter, part[COT_SECTION_PRE_TOKENIZER], name));
    COT_TRY(cot_decoder_read(&t->decoder, part[COT_SECTION_DECODER], name));
    return cot_post_processor_read(part[COT_SECTION_POST_PROCESSOR], (int32_t)t->keys.count, name, &t->start, &t->stop);
}
