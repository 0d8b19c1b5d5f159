#include "data/tokenizers/decoder.h"

#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/section.h"

/* ---- decoder ---- */

typedef struct {
    cot_decoder *decoder;
    const char  *name;  /* of the file */
    bool         fused;
} reader;

static cot_status no_memory(const reader *r) { return cot_fail(COT_OUT_OF_MEMORY, "%s: its decoder", r->name); }

static cot_status set_replacement(const reader *r, const char *find, const char *content)
{
    cot_decoder *d = r->decoder;
    if (!find || !*find || !content || d->find)
        return cot_fail(COT_FORMAT, "%s: decoder: %s, expected one text for one other", r->name,
                        d->find ? "a second replacement" : "a replacement without texts");
    d->find = cot_strdup(find);
    d->content = cot_strdup(content);
    return d->find && d->content ? COT_OK : no_memory(r);
}

static cot_status read_replace(const reader *r, const json_t *section)
{
    const json_t *pattern = json_object_get(json_object_get(section, "pattern"), "String");
    return set_replacement(r, json_string_value(pattern), json_string_value(json_object_get(section, "content")));
}

static cot_status read_metaspace(const reader *r, const json_t *section)
{
    const char *scheme = json_string_value(json_object_get(section, "prepend_scheme"));
    bool        prefix;
    COT_TRY(cot_section_flag(section, "add_prefix_space", true, "decoder", r->name, &prefix));
    if (scheme ? strcmp(scheme, "never") != 0 : prefix) r->decoder->strip = COT_STRIP_ALL;
    return set_replacement(r, json_string_value(json_object_get(section, "replacement")), " ");
}

static cot_status read_strip(const reader *r, const json_t *section)
{
    const json_t    *content = json_object_get(section, "content"), *start = json_object_get(section, "start");
    const json_t    *stop = json_object_get(section, "stop");
    const json_int_t count = json_integer_value(start);
    if (!json_is_string(content) || strcmp(json_string_value(content), " ") != 0 || count < 0 || count > 1 ||
        json_integer_value(stop) != 0 || !r->fused)
        return cot_fail(COT_FORMAT, "%s: decoder: a Strip that is not supported, expected one space at the start of "
                        "the whole text", r->name);
    if (count) r->decoder->strip = COT_STRIP_ONE;
    return COT_OK;
}

static cot_status read_section(reader *r, const json_t *section)
{
    const char *type;
    COT_TRY(cot_section_type(section, "decoder", r->name, &type));
    if (!strcmp(type, "ByteLevel")) r->decoder->byte_level = true;
    else if (!strcmp(type, "ByteFallback")) r->decoder->byte_fallback = true;
    else if (!strcmp(type, "Fuse")) r->fused = true;
    else if (!strcmp(type, "Replace")) return read_replace(r, section);
    else if (!strcmp(type, "Metaspace")) return read_metaspace(r, section);
    else if (!strcmp(type, "Strip")) return read_strip(r, section);
    else if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(section, "decoders");
        for (size_t i = 0; i < json_array_size(list); i++) COT_TRY(read_section(r, json_array_get(list, i)));
    } else {
        return cot_fail(COT_FORMAT, "%s: decoder.type is %.60s, expected ByteLevel, Metaspace, Replace, ByteFallback, "
                        "Fuse, Strip or Sequence", r->name, type);
    }
    return COT_OK;
}

cot_status cot_decoder_read(cot_decoder *decoder, const json_t *section, const char *name)
{
    reader r = {.decoder = decoder, .name = name};
    return read_section(&r, section);
}

void cot_decoder_release(cot_decoder *decoder)
{
    cot_free(decoder->find);
    cot_free(decoder->content);
    cot_free(decoder->unknown);
    *decoder = (cot_decoder){0};
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int cot_fallback_byte(const char *text, size_t length)
{
    if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    const int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}

/* ---- post-processor ---- */

typedef struct {
    const char *name;
    int32_t     vocab_size;
    int32_t    *start, *stop;
} template_reader;

static cot_status read_id(const template_reader *r, const json_t *id, int32_t *out)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= r->vocab_size)
        return cot_fail(COT_FORMAT, "%s: post_processor has the token id %lld (%s), expected 0 to %d", r->name,
                        (long long)json_integer_value(id), cot_json_kind(id), r->vocab_size - 1);
    *out = (int32_t)json_integer_value(id);
    return COT_OK;
}

/* [SpecialToken <s>, Sequence A, SpecialToken </s>]: with several tokens in a row, the ones at the text count. */
static cot_status read_template(const template_reader *r, const json_t *section)
{
    const json_t *items = json_object_get(section, "single"), *tokens = json_object_get(section, "special_tokens");
    bool          behind = false;
    if (!json_is_array(items))
        return cot_fail(COT_FORMAT, "%s: post_processor.single is %s, expected a list", r->name, cot_json_kind(items));
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *special = json_object_get(json_array_get(items, i), "SpecialToken");
        const char   *key = json_string_value(json_object_get(special, "id"));
        if (!special) {
            behind = true;
            continue;
        }
        if (behind && *r->stop >= 0) continue;
        const json_t *ids = json_object_get(key ? json_object_get(tokens, key) : NULL, "ids");
        COT_TRY(read_id(r, json_array_get(ids, 0), behind ? r->stop : r->start));
    }
    return COT_OK;
}

static cot_status read_post_processor(const template_reader *r, const json_t *section)
{
    const char *type;
    COT_TRY(cot_section_type(section, "post_processor", r->name, &type));
    if (!strcmp(type, "ByteLevel")) return COT_OK;
    if (!strcmp(type, "TemplateProcessing")) return read_template(r, section);
    if (!strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing")) {
        COT_TRY(read_id(r, json_array_get(json_object_get(section, "cls"), 1), r->start));
        return read_id(r, json_array_get(json_object_get(section, "sep"), 1), r->stop);
    }
    if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(section, "processors");
        for (size_t i = 0; i < json_array_size(list); i++) COT_TRY(read_post_processor(r, json_array_get(list, i)));
        return COT_OK;
    }
    return cot_fail(COT_FORMAT, "%s: post_processor.type is %.60s, expected ByteLevel, TemplateProcessing, "
                    "RobertaProcessing, BertProcessing or Sequence", r->name, type);
}

cot_status cot_post_processor_read(const json_t *section, int32_t vocab_size, const char *name, int32_t *start,
                                   int32_t *stop)
{
    const template_reader r = {name, vocab_size, start, stop};
    *start = *stop = -1;
    return section && !json_is_null(section) ? read_post_processor(&r, section) : COT_OK;
}
