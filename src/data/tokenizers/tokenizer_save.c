/* Writing tokenizer.json and tokenizer_config.json as Hugging Face's libraries read them. */
#include <coterie/tokenizer.h>

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/vocabulary.h"
#include "formats/file.h"
#include "formats/json.h"

/* jansson lets a failed allocation through as NULL: it is noticed where the parts are put together. */

static const char *key_of(const cot_tokenizer *t, int32_t id) { return t->keys.bytes + t->keys.starts[id]; }

static json_t *added_tokens(const cot_tokenizer *t)
{
    json_t *list = json_array();
    for (int32_t id = 0; id < cot_tokenizer_vocab_size(t); id++) {
        if (!(t->flags[id] & COT_TOKEN_ADDED)) continue;
        const int normalized = (t->flags[id] & COT_TOKEN_NORMALIZED) != 0;
        const int special = (t->flags[id] & COT_TOKEN_SPECIAL) != 0;
        json_t   *entry = json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (int)id, "content", key_of(t, id),
                                    "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", normalized, "special",
                                    special);
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

/* "left right": every version of the library reads this form, and no key has a space in it. */
static json_t *merge_text(const cot_tokenizer *t, cot_merge merge)
{
    const char  *left = key_of(t, merge.left), *right = key_of(t, merge.right);
    const size_t left_length = strlen(left), length = left_length + 1 + strlen(right);
    char        *text = cot_malloc(length + 1);
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

static json_t *byte_level(bool add_prefix_space, bool trim_offsets)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", add_prefix_space, "trim_offsets",
                     trim_offsets, "use_regex", 1);
}

static json_t *tokenizer_json(const cot_tokenizer *t)
{
    json_t *model = json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                              "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                              "ignore_merges", 0, "vocab", vocabulary(t), "merges", merges(t));
    return json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                     "added_tokens", added_tokens(t), "normalizer", "pre_tokenizer", byte_level(false, true),
                     "post_processor", byte_level(true, false), "decoder", byte_level(true, true), "model", model);
}

static json_t *config_json(const cot_tokenizer *t, int64_t model_max_length)
{
    const int32_t end = cot_tokenizer_end_of_text(t);
    json_t       *config = json_pack("{s:s, s:b, s:b}", "tokenizer_class", "PreTrainedTokenizerFast",
                                     "add_prefix_space", 0, "clean_up_tokenization_spaces", 0);
    int           failed = !config;
    if (end >= 0) {
        failed |= json_object_set_new(config, "bos_token", json_string(key_of(t, end)));
        failed |= json_object_set_new(config, "eos_token", json_string(key_of(t, end)));
    }
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
    COT_TRY(write_json(folder, "tokenizer.json", tokenizer_json(t)));
    return write_json(folder, "tokenizer_config.json", config_json(t, model_max_length));
}
