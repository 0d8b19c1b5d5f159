/* Reading a Hugging Face tokenizer.json. Only what byte-level BPE with GPT-2's pattern needs is understood; whatever
 * else would change the ids is refused, so that ids are right or there are none. */
#include <coterie/tokenizer.h>

#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/growing.h"
#include "data/tokenizers/vocabulary.h"
#include "formats/file.h"
#include "formats/json.h"

enum { FILE_BYTES_MAX = 32 << 20 };  /* published vocabularies of 200 000 tokens take up to 27 MB */

typedef struct {
    const char    *name;  /* of the file */
    cot_tokenizer *tokenizer;
    json_t        *vocab;  /* model.vocab */
    json_t        *added;  /* added_tokens, or NULL */
    const char   **keys;   /* [count] by id */
    size_t         count;
    char          *joined;  /* key of a merge's result */
    size_t         joined_capacity;
} loader;

static cot_status no_memory(const loader *l) { return cot_fail(COT_OUT_OF_MEMORY, "%s: a tokenizer", l->name); }

/* ---- settings ---- */

typedef enum {
    NOTHING,
    FALSE_ONLY,
    BYTE_LEVEL,
    BPE_OR_ABSENT,
    TRUE_OR_NOTHING,
    FALSE_OR_NOTHING,
    EMPTY_OR_NOTHING,
    ZERO_OR_NOTHING
} rule;

static bool is_string(const json_t *value, const char *text)
{
    return json_is_string(value) && !strcmp(json_string_value(value), text);
}

static bool obeys(const json_t *value, rule r)
{
    const bool nothing = !value || json_is_null(value);
    switch (r) {
    case NOTHING: return nothing;
    case FALSE_ONLY: return json_is_false(value);
    case BYTE_LEVEL: return is_string(value, "ByteLevel");
    case BPE_OR_ABSENT: return !value || is_string(value, "BPE");  /* early files did not say it */
    case TRUE_OR_NOTHING: return nothing || json_is_true(value);
    case FALSE_OR_NOTHING: return nothing || json_is_false(value);
    case EMPTY_OR_NOTHING: return nothing || is_string(value, "");
    case ZERO_OR_NOTHING: return nothing || (json_is_number(value) && json_number_value(value) == 0);
    }
    return false;
}

/* A setting's value as it stands in a message. */
static const char *shown(const json_t *value)
{
    return json_is_string(value) ? json_string_value(value) : cot_json_kind(value);
}

static cot_status check_settings(const loader *l, const json_t *root)
{
    static const char *const wanted[] = {
        [NOTHING] = "null",           [FALSE_ONLY] = "false",        [BYTE_LEVEL] = "ByteLevel",
        [BPE_OR_ABSENT] = "BPE",      [TRUE_OR_NOTHING] = "true",    [FALSE_OR_NOTHING] = "false",
        [EMPTY_OR_NOTHING] = "null",  [ZERO_OR_NOTHING] = "null",
    };
    static const struct {
        const char *section, *key;
        rule        rule;
    } settings[] = {
        {"normalizer", NULL, NOTHING},
        {"pre_tokenizer", "type", BYTE_LEVEL},
        {"pre_tokenizer", "add_prefix_space", FALSE_ONLY},
        {"pre_tokenizer", "use_regex", TRUE_OR_NOTHING},
        {"decoder", "type", BYTE_LEVEL},
        {"model", "type", BPE_OR_ABSENT},
        {"model", "dropout", ZERO_OR_NOTHING},
        {"model", "continuing_subword_prefix", EMPTY_OR_NOTHING},
        {"model", "end_of_word_suffix", EMPTY_OR_NOTHING},
        {"model", "byte_fallback", FALSE_OR_NOTHING},
        {"model", "ignore_merges", FALSE_OR_NOTHING},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const char   *section = settings[i].section, *key = settings[i].key;
        const json_t *value = json_object_get(root, section);
        if (key) value = json_object_get(value, key);
        if (!obeys(value, settings[i].rule))
            return cot_fail(COT_FORMAT, "%s: %s%s%s is %.60s, expected %s", l->name, section, key ? "." : "",
                            key ? key : "", shown(value), wanted[settings[i].rule]);
    }
    const json_t *post = json_object_get(root, "post_processor"), *type = json_object_get(post, "type");
    if (post && !json_is_null(post) && !is_string(type, "ByteLevel"))
        return cot_fail(COT_FORMAT, "%s: post_processor.type is %.60s, expected ByteLevel", l->name, shown(type));
    return COT_OK;
}

/* ---- tokens ---- */

static cot_status place_key(loader *l, const char *key, const json_t *id)
{
    const json_int_t number = json_is_integer(id) ? json_integer_value(id) : -1;
    if (number < 0 || (uint64_t)number >= l->count)
        return cot_fail(COT_FORMAT, "%s: token \"%.100s\" has id %lld (%s), expected each of 0 to %zu once", l->name,
                        key, (long long)number, cot_json_kind(id), l->count - 1);
    if (l->keys[number])
        return cot_fail(COT_FORMAT, "%s: tokens \"%.100s\" and \"%.100s\" both have id %lld", l->name, l->keys[number],
                        key, (long long)number);
    l->keys[number] = key;
    return COT_OK;
}

/* An entry of added_tokens: its text and id, checked. */
static cot_status read_added(const loader *l, size_t index, const char **key, const json_t **id)
{
    static const char *const unsupported[] = {"single_word", "lstrip", "rstrip"};
    const json_t            *entry = json_array_get(l->added, index);
    *key = json_string_value(json_object_get(entry, "content"));
    *id = json_object_get(entry, "id");
    if (!*key || !**key)
        return cot_fail(COT_FORMAT, "%s: added token %zu has no content, expected a text", l->name, index);
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (!obeys(json_object_get(entry, unsupported[i]), FALSE_OR_NOTHING))
            return cot_fail(COT_FORMAT, "%s: added token \"%.100s\" sets %s, expected false", l->name, *key,
                            unsupported[i]);
    const json_t *known = json_object_get(l->vocab, *key);
    if (known && !json_equal(known, *id))
        return cot_fail(COT_FORMAT, "%s: added token \"%.100s\" has another id in the vocabulary", l->name, *key);
    return COT_OK;
}

/* All keys by id: the vocabulary's and those of added tokens that it lacks. */
static cot_status collect_keys(loader *l)
{
    const size_t added = json_array_size(l->added);
    l->count = json_object_size(l->vocab);
    for (size_t i = 0; i < added; i++) {
        const char   *key;
        const json_t *id;
        COT_TRY(read_added(l, i, &key, &id));
        l->count += !json_object_get(l->vocab, key);
    }
    l->keys = cot_calloc(l->count * sizeof *l->keys);
    if (!l->keys) return no_memory(l);
    const char *key;
    json_t     *value;
    json_object_foreach(l->vocab, key, value) COT_TRY(place_key(l, key, value));
    for (size_t i = 0; i < added; i++) {
        const json_t *id;
        COT_TRY(read_added(l, i, &key, &id));
        if (!json_object_get(l->vocab, key)) COT_TRY(place_key(l, key, id));
    }
    return COT_OK;
}

static cot_status read_tokens(loader *l)
{
    cot_tokenizer *t = l->tokenizer;
    COT_TRY(collect_keys(l));
    t->flags = cot_calloc(l->count);
    if (!t->flags) return no_memory(l);
    for (size_t i = 0; i < l->count; i++) {
        uint32_t id;
        COT_TRY(cot_byte_table_add(&t->keys, l->keys[i], strlen(l->keys[i]), &id));
        if (id != i) return cot_fail(COT_FORMAT, "%s: token \"%.100s\" has ids %u and %zu", l->name, l->keys[i], id, i);
    }
    for (size_t i = 0; i < json_array_size(l->added); i++) {
        const json_t *entry = json_array_get(l->added, i);
        const size_t  id = (size_t)json_integer_value(json_object_get(entry, "id"));
        if (t->flags[id])
            return cot_fail(COT_FORMAT, "%s: added token \"%.100s\" is there twice", l->name, l->keys[id]);
        t->flags[id] = COT_TOKEN_ADDED;
        if (json_is_true(json_object_get(entry, "special"))) t->flags[id] |= COT_TOKEN_SPECIAL;
        if (json_is_true(json_object_get(entry, "normalized"))) t->flags[id] |= COT_TOKEN_NORMALIZED;
    }
    return COT_OK;
}

/* ---- merges ---- */

static cot_status find_key(const loader *l, size_t rank, const char *key, size_t length, int32_t *id)
{
    const int64_t found = cot_byte_table_find(&l->tokenizer->keys, key, length);
    if (found < 0)
        return cot_fail(COT_FORMAT, "%s: merge %zu needs the token \"%.*s\", which is not in the vocabulary", l->name,
                        rank, length < 100 ? (int)length : 100, key);
    *id = (int32_t)found;
    return COT_OK;
}

/* A merge is written "left right" or ["left", "right"]. */
static cot_status split_merge(const loader *l, size_t rank, const json_t *entry, const char **left, size_t *left_length,
                              const char **right)
{
    const char *text = json_string_value(entry), *space = text ? strchr(text, ' ') : NULL;
    if (space && !strchr(space + 1, ' ')) {
        *left = text;
        *left_length = (size_t)(space - text);
        *right = space + 1;
        return COT_OK;
    }
    *left = json_string_value(json_array_get(entry, 0));
    *right = json_string_value(json_array_get(entry, 1));
    if (json_array_size(entry) != 2 || !*left || !*right)
        return cot_fail(COT_FORMAT, "%s: merge %zu is %s, expected two tokens", l->name, rank,
                        text ? "a text without one space in it" : cot_json_kind(entry));
    *left_length = strlen(*left);
    return COT_OK;
}

static cot_status read_merge(loader *l, size_t rank, const json_t *entry, cot_merge *merge)
{
    const char *left, *right;
    size_t      left_length = 0;
    COT_TRY(split_merge(l, rank, entry, &left, &left_length, &right));
    const size_t right_length = strlen(right), length = left_length + right_length;
    char        *joined = cot_grown(l->joined, &l->joined_capacity, length + 1, 1);
    if (!joined) return no_memory(l);
    l->joined = joined;
    memcpy(joined, left, left_length);
    memcpy(joined + left_length, right, right_length);
    COT_TRY(find_key(l, rank, left, left_length, &merge->left));
    COT_TRY(find_key(l, rank, right, right_length, &merge->right));
    return find_key(l, rank, joined, length, &merge->id);
}

static cot_status read_merges(loader *l, const json_t *merges)
{
    const size_t count = json_array_size(merges);
    if (!json_is_array(merges) || count > INT32_MAX / 2)
        return cot_fail(COT_FORMAT, "%s: model.merges is %s, expected a list", l->name, cot_json_kind(merges));
    l->tokenizer->merges = cot_malloc(count * sizeof *l->tokenizer->merges);
    if (!l->tokenizer->merges) return no_memory(l);
    for (size_t rank = 0; rank < count; rank++)
        COT_TRY(read_merge(l, rank, json_array_get(merges, rank), &l->tokenizer->merges[rank]));
    l->tokenizer->merge_count = (int32_t)count;
    return COT_OK;
}

static cot_status read_all(loader *l, const json_t *root)
{
    if (!json_is_object(root))
        return cot_fail(COT_FORMAT, "%s: %s, expected a tokenizer.json", l->name, cot_json_kind(root));
    COT_TRY(check_settings(l, root));
    const json_t *model = json_object_get(root, "model");
    l->vocab = json_object_get(model, "vocab");
    l->added = json_object_get(root, "added_tokens");
    if (!json_object_size(l->vocab))
        return cot_fail(COT_FORMAT, "%s: model.vocab is %s, expected tokens and their ids", l->name,
                        json_is_object(l->vocab) ? "empty" : cot_json_kind(l->vocab));
    if (l->added && !json_is_null(l->added) && !json_is_array(l->added))
        return cot_fail(COT_FORMAT, "%s: added_tokens is %s, expected a list", l->name, cot_json_kind(l->added));
    COT_TRY(read_tokens(l));
    COT_TRY(read_merges(l, json_object_get(model, "merges")));
    return cot_vocabulary_finish(l->tokenizer, l->name);
}

cot_status cot_tokenizer_parse(const char *text, size_t length, const char *name, cot_tokenizer **out)
{
    json_t *root;
    *out = NULL;
    COT_TRY(cot_json_parse(text, length, name, &root));
    loader           l = {.name = name, .tokenizer = cot_calloc(sizeof *l.tokenizer)};
    const cot_status status = l.tokenizer ? read_all(&l, root) : no_memory(&l);
    cot_free(l.keys);
    cot_free(l.joined);
    json_decref(root);
    if (status == COT_OK) *out = l.tokenizer;
    else cot_tokenizer_destroy(l.tokenizer);
    return status;
}

cot_status cot_tokenizer_load(const char *path, cot_tokenizer **out)
{
    *out = NULL;
    char *file = cot_folder_exists(path) ? cot_path_join(path, "tokenizer.json") : cot_strdup(path);
    if (!file) return cot_fail(COT_OUT_OF_MEMORY, "%s: a tokenizer", path);
    char      *text;
    size_t     length;
    cot_status status = cot_file_read(file, FILE_BYTES_MAX, &text, &length);
    if (status == COT_OK) {
        status = cot_tokenizer_parse(text, length, file, out);
        cot_free(text);
    }
    cot_free(file);
    return status;
}
