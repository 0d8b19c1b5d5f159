/* Writing tokenizer.json and tokenizer_config.json as Hugging Face's libraries read them. */
#include <coterie/tokenizer.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/vocabulary.h"
#include "formats/file.h"
#include "formats/json.h"

/* jansson lets a failed allocation through as NULL: it is noticed where the parts are put together. */

static const char *key_of(const cot_tokenizer *t, int32_t id)
{
    size_t length;
    return cot_tokenizer_key(t, id, &length);
}

static json_t *added_tokens(const cot_tokenizer *t)
{
    json_t *list = json_array();
    for (int32_t id = 0; id < cot_tokenizer_vocab_size(t); id++) {
        if (!(t->flags[id] & COT_TOKEN_ADDED)) continue;
        const uint8_t flags = t->flags[id];
        json_t       *entry = json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (int)id, "content", key_of(t, id),
                                        "single_word", (flags & COT_TOKEN_SINGLE_WORD) != 0, "lstrip",
                                        (flags & COT_TOKEN_LSTRIP) != 0, "rstrip", (flags & COT_TOKEN_RSTRIP) != 0,
                                        "normalized", (flags & COT_TOKEN_NORMALIZED) != 0, "special",
                                        (flags & COT_TOKEN_SPECIAL) != 0);
        if (json_array_append_new(list, entry)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *vocabulary(const cot_tokenizer *t)
{
    json_t *map = json_object();
    for (int32_t id = 0; id < cot_tokenizer_vocab_size(t); id++) {
        if (!json_object_set_new_nocheck(map, key_of(t, id), json_integer(id))) continue;
        json_decref(map);
        return NULL;
    }
    return map;
}

/* "left right": every version of the library reads this form; ["left", "right"] where a key has a space in it. */
static json_t *merge_text(const cot_tokenizer *t, cot_merge merge)
{
    const char  *left = key_of(t, merge.left), *right = key_of(t, merge.right);
    const size_t left_length = strlen(left), length = left_length + 1 + strlen(right);
    if (strchr(left, ' ') || strchr(right, ' ')) return json_pack("[s, s]", left, right);
    char *text = cot_malloc(length + 1);
    if (!text) return NULL;
    memcpy(text, left, left_length);
    text[left_length] = ' ';
    strcpy(text + left_length + 1, right);
    json_t *value = json_stringn_nocheck(text, length);
    cot_free(text);
    return value;
}

static json_t *merges(const cot_tokenizer *t)
{
    json_t *list = json_array();
    for (int32_t rank = 0; rank < t->merge_count; rank++) {
        if (!json_array_append_new(list, merge_text(t, t->merges[rank]))) continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

/* [[token, score], ...]; what has no score is an added token, which is listed elsewhere. */
static json_t *pieces(const cot_tokenizer *t)
{
    json_t *list = json_array();
    for (int32_t id = 0; id < cot_tokenizer_vocab_size(t); id++) {
        const double score = isnan(t->scores[id]) ? 0 : t->scores[id];
        if (!json_array_append_new(list, json_pack("[s, f]", key_of(t, id), score))) continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *bpe_model(const cot_tokenizer *t)
{
    json_t *unknown = t->unknown >= 0 ? json_string(key_of(t, t->unknown)) : json_null();
    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     unknown, "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", t->fuse_unknown,
                     "byte_fallback", t->byte_fallback, "ignore_merges", t->ignore_merges, "vocab", vocabulary(t),
                     "merges", merges(t));
}

static json_t *unigram_model(const cot_tokenizer *t)
{
    json_t *unknown = t->unknown >= 0 ? json_integer(t->unknown) : json_null();
    return json_pack("{s:s, s:o, s:o, s:b}", "type", "Unigram", "unk_id", unknown, "vocab", pieces(t), "byte_fallback",
                     t->byte_fallback);
}

static json_t *section(const cot_tokenizer *t, cot_section which)
{
    return t->sections[which] ? json_loads(t->sections[which], 0, NULL) : json_null();
}

static json_t *tokenizer_json(const cot_tokenizer *t)
{
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                     "added_tokens", added_tokens(t), "normalizer", section(t, COT_SECTION_NORMALIZER),
                     "pre_tokenizer", section(t, COT_SECTION_PRE_TOKENIZER), "post_processor",
                     section(t, COT_SECTION_POST_PROCESSOR), "decoder", section(t, COT_SECTION_DECODER), "model",
                     t->kind == COT_MODEL_UNIGRAM ? unigram_model(t) : bpe_model(t));
}

static json_t *config_json(const cot_tokenizer *t, int64_t model_max_length)
{
    const int32_t end = cot_tokenizer_end_of_text(t), start = t->start >= 0 ? t->start : end;
    json_t       *config = json_pack("{s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast",
                                     "clean_up_tokenization_spaces", 0);
    int           failed = !config;
    if (t->splitter.byte_level)
        failed |= json_object_set_new(config, "add_prefix_space", json_boolean(cot_splitter_adds_space(&t->splitter)));
    if (start >= 0) failed |= json_object_set_new(config, "bos_token", json_string(key_of(t, start)));
    if (end >= 0) failed |= json_object_set_new(config, "eos_token", json_string(key_of(t, end)));
    if (t->unknown >= 0) failed |= json_object_set_new(config, "unk_token", json_string(key_of(t, t->unknown)));
    if (model_max_length) failed |= json_object_set_new(config, "model_max_length", json_integer(model_max_length));
    if (!failed) return config;
    json_decref(config);
    return NULL;
}

/* Writes and frees `value`. */
static cot_status write_json(const char *folder, const char *file, json_t *value)
{
    char *path = cot_path_join(folder, file);
    char *text = value ? json_dumps(value, JSON_INDENT(2)) : NULL;
    json_decref(value);
    const cot_status status = path && text ? cot_file_write(path, text, strlen(text))
                                           : cot_fail(COT_OUT_OF_MEMORY, "%s/%s: its text", folder, file);
    free(text);
    cot_free(path);
    return status;
}

cot_status cot_tokenizer_save(const cot_tokenizer *t, const char *folder, int64_t model_max_length)
{
    if (model_max_length < 0)
        return cot_fail(COT_INVALID, "tokenizer: model_max_length is %lld, expected 0 or more",
                        (long long)model_max_length);
    COT_TRY(write_json(folder, "tokenizer_config.json", config_json(t, model_max_length)));
    return write_json(folder, "tokenizer.json", tokenizer_json(t));  /* last: where it is, all is */
}
