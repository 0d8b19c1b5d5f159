/* The `normalizer` section of a tokenizer.json. What would change the ids and is not understood is refused. */
#include <utf8proc.h>

#include "base/fail.h"
#include "data/tokenizers/base64.h"
#include "data/tokenizers/normalizer.h"
#include "data/tokenizers/section.h"

enum { STEPS_MAX = 64 };  /* published ones have five */

static cot_status no_memory(const char *name) { return cot_fail(COT_OUT_OF_MEMORY, "%s: its normalizer", name); }

void cot_normalizer_step_release(cot_normalizer_step *step)
{
    cot_free(step->find);
    cot_free(step->content);
    cot_pattern_release(&step->pattern);
    cot_charsmap_release(&step->charsmap);
    cot_trie_release(&step->symbols);
}

void cot_normalizer_release(cot_normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++) cot_normalizer_step_release(&normalizer->steps[i]);
    cot_free(normalizer->steps);
    *normalizer = (cot_normalizer){0};
}

cot_status cot_normalizer_add(cot_normalizer *normalizer, const cot_normalizer_step *step)
{
    if (normalizer->count == STEPS_MAX) return cot_fail(COT_FORMAT, "a normalizer has more than %d steps", STEPS_MAX);
    cot_normalizer_step *steps = cot_grown(normalizer->steps, &normalizer->capacity, normalizer->count + 1,
                                           sizeof *steps);
    if (!steps) return no_memory("a tokenizer");
    normalizer->steps = steps;
    steps[normalizer->count++] = *step;
    return COT_OK;
}

static cot_status read_text(const json_t *section, const char *key, const char *name, char **out)
{
    const char *text = json_string_value(json_object_get(section, key));
    if (!text) return cot_fail(COT_FORMAT, "%s: normalizer.%s is %s, expected a text", name, key,
                               cot_json_kind(json_object_get(section, key)));
    *out = cot_strdup(text);
    return *out ? COT_OK : no_memory(name);
}

static cot_status read_replace(const json_t *section, const char *name, cot_normalizer_step *step)
{
    const json_t *pattern = json_object_get(section, "pattern");
    const char   *find = json_string_value(json_object_get(pattern, "String"));
    COT_TRY(read_text(section, "content", name, &step->content));
    if (!find) return cot_section_pattern(pattern, "normalizer.pattern", name, &step->pattern);
    if (!*find) return cot_fail(COT_FORMAT, "%s: normalizer.pattern is empty, expected a text", name);
    step->find = cot_strdup(find);
    return step->find ? COT_OK : no_memory(name);
}

static cot_status read_precompiled(const json_t *section, const char *name, cot_normalizer_step *step)
{
    const json_t *value = json_object_get(section, "precompiled_charsmap");
    size_t        length = 0;
    char         *bytes = json_is_string(value) ? cot_base64_decode(json_string_value(value), &length) : NULL;
    if (!bytes) return cot_fail(COT_FORMAT, "%s: normalizer.precompiled_charsmap is %s, expected a map in base64", name,
                                cot_json_kind(value));
    const cot_status status = cot_charsmap_read(&step->charsmap, bytes, length, name);
    cot_free(bytes);
    return status;
}

static cot_status read_form(const char *type, cot_normalizer_step *step)
{
    static const struct {
        const char *type;
        int         form;
        int32_t     plain_below;  /* the first code point with a decomposition, or that is joined with what is before */
    } forms[] = {
        {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE, 0x300},
        {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, 0xc0},
        {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT, 0xa0},
        {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, 0xa0},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(forms[i].type, type) != 0) continue;
        step->form = forms[i].form;
        step->plain_below = forms[i].plain_below;
        return COT_OK;
    }
    return COT_NOT_FOUND;
}

static cot_status read_step(const json_t *section, const char *type, const char *name, cot_normalizer_step *step)
{
    if (read_form(type, step) == COT_OK) return COT_OK;
    if (!strcmp(type, "Lowercase")) {
        step->kind = COT_NORMALIZE_LOWERCASE;
    } else if (!strcmp(type, "StripAccents")) {
        step->kind = COT_NORMALIZE_STRIP_ACCENTS;
    } else if (!strcmp(type, "Strip")) {
        step->kind = COT_NORMALIZE_STRIP;
        COT_TRY(cot_section_flag(section, "strip_left", false, "normalizer", name, &step->left));
        COT_TRY(cot_section_flag(section, "strip_right", false, "normalizer", name, &step->right));
    } else if (!strcmp(type, "Prepend")) {
        step->kind = COT_NORMALIZE_PREPEND;
        return read_text(section, "prepend", name, &step->content);
    } else if (!strcmp(type, "Precompiled")) {
        step->kind = COT_NORMALIZE_PRECOMPILED;
        return read_precompiled(section, name, step);
    } else if (!strcmp(type, "Replace")) {
        step->kind = COT_NORMALIZE_REPLACE;
        return read_replace(section, name, step);
    } else {
        return cot_fail(COT_FORMAT, "%s: normalizer.type is %.60s, expected NFC, NFD, NFKC, NFKD, Lowercase, "
                        "StripAccents, Strip, Prepend, Replace, Precompiled or Sequence", name, type);
    }
    return COT_OK;
}

cot_status cot_normalizer_read(cot_normalizer *normalizer, const json_t *section, const char *name)
{
    if (!section || json_is_null(section)) return COT_OK;
    const char *type;
    COT_TRY(cot_section_type(section, "normalizer", name, &type));
    if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(section, "normalizers");
        for (size_t i = 0; i < json_array_size(list); i++)
            COT_TRY(cot_normalizer_read(normalizer, json_array_get(list, i), name));
        return COT_OK;
    }
    cot_normalizer_step step = {.kind = COT_NORMALIZE_FORM};
    cot_status          status = read_step(section, type, name, &step);
    if (status == COT_OK) status = cot_normalizer_add(normalizer, &step);
    if (status != COT_OK) cot_normalizer_step_release(&step);
    return status;
}
