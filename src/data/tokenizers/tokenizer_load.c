/* Reading a Hugging Face tokenizer.json. Whatever would change the ids and is not understood is refused, so that ids
 * are right or there are none. */
#include <coterie/tokenizer.h>

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/growing.h"
#include "data/tokenizers/section.h"
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

/* ---- settings of the model ---- */

static bool is_nothing(const json_t *value) { return !value || json_is_null(value); }

/* A setting's value as it stands in a message. */
static const char *shown(const json_t *value)
{
    return json_is_string(value) ? json_string_value(value) : cot_json_kind(value);
}

/* Refuses what would change the ids and is not understood. */
static cot_status check_model(const loader *l, const json_t *model)
{
    const json_t *type = json_object_get(model, "type"), *dropout = json_object_get(model, "dropout");
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    if (type && strcmp(shown(type), "BPE") != 0 && strcmp(shown(type), "Unigram") != 0)  /* early files did not say it */
        return cot_fail(COT_FORMAT, "%s: model.type is %.60s, expected BPE or Unigram", l->name, shown(type));
    if (!is_nothing(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return cot_fail(COT_FORMAT, "%s: model.dropout is %.60s, expected null", l->name, shown(dropout));
    for (size_t i = 0; i < 2; i++) {
        const json_t *affix = json_object_get(model, affixes[i]);
        if (!is_nothing(affix) && !(json_is_string(affix) && !json_string_length(affix)))
            return cot_fail(COT_FORMAT, "%s: model.%s is %.60s, expected null", l->name, affixes[i], shown(affix));
    }
    return COT_OK;
}

/* BPE names the unknown token, Unigram numbers it. */
static cot_status read_unknown(const loader *l, const json_t *model)
{
    cot_tokenizer *t = l->tokenizer;
    const json_t  *text = json_object_get(model, "unk_token"), *number = json_object_get(model, "unk_id");
    int64_t        id = -1;
    if (t->kind == COT_MODEL_UNIGRAM && !is_nothing(number))
        id = json_is_integer(number) && json_integer_value(number) >= 0 ? json_integer_value(number) : INT64_MAX;
    if (t->kind == COT_MODEL_BPE && !is_nothing(text))
        id = json_is_string(text) ? cot_byte_table_find(&t->keys, json_string_value(text), json_string_length(text))
                                  : -1;
    if (id >= (int64_t)t->keys.count || (t->kind == COT_MODEL_BPE && !is_nothing(text) && id < 0))
        return cot_fail(COT_FORMAT, "%s: model.%s is %.60s, expected a token of the vocabulary", l->name,
                        t->kind == COT_MODEL_BPE ? "unk_token" : "unk_id",
                        shown(t->kind == COT_MODEL_BPE ? text : number));
    t->unknown = (int32_t)id;
    return COT_OK;
}

static cot_status read_settings(const loader *l, const json_t *model)
{
    cot_tokenizer *t = l->tokenizer;
    const bool     unigram = t->kind == COT_MODEL_UNIGRAM;
    COT_TRY(read_unknown(l, model));
    COT_TRY(cot_section_flag(model, "byte_fallback", false, "model", l->name, &t->byte_fallback));
    COT_TRY(cot_section_flag(model, "fuse_unk", unigram, "model", l->name, &t->fuse_unknown));
    return cot_section_flag(model, "ignore_merges", false, "model", l->name, &t->ignore_merges);
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
    const json_t *entry = json_array_get(l->added, index);
    *key = json_string_value(json_object_get(entry, "content"));
    *id = json_object_get(entry, "id");
    if (!*key || !**key)
        return cot_fail(COT_FORMAT, "%s: added token %zu has no content, expected a text", l->name, index);
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

static uint8_t added_flags(const json_t *entry)
{
    static const struct {
        const char *key;
        uint8_t     flag;
    } flags[] = {{"special", COT_TOKEN_SPECIAL},         {"normalized", COT_TOKEN_NORMALIZED},
                 {"single_word", COT_TOKEN_SINGLE_WORD}, {"lstrip", COT_TOKEN_LSTRIP},
                 {"rstrip", COT_TOKEN_RSTRIP}};
    uint8_t all = 0;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (json_is_true(json_object_get(entry, flags[i].key))) all |= flags[i].flag;
    return all;
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
        t->flags[id] = COT_TOKEN_ADDED | added_flags(entry);
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
    for (int32_t rank = 0; rank < (int32_t)count; rank++) l->tokenizer->merges[rank].rank = rank;
    l->tokenizer->merge_count = (int32_t)count;
    return COT_OK;
}

/* ---- unigram: [[token, score], ...] ---- */

/* Makes a map of tokens and ids of the list, as BPE has one; the caller drops it. */
static cot_status map_pieces(loader *l, const json_t *list, json_t **map)
{
    *map = json_object();
    for (size_t id = 0; id < json_array_size(list); id++) {
        const json_t *entry = json_array_get(list, id), *token = json_array_get(entry, 0);
        if (!json_is_string(token) || !json_is_number(json_array_get(entry, 1)))
            return cot_fail(COT_FORMAT, "%s: model.vocab, entry %zu: expected [token, score]", l->name, id);
        if (json_object_get(*map, json_string_value(token)))
            return cot_fail(COT_FORMAT, "%s: token \"%.100s\" is there twice", l->name, json_string_value(token));
        if (json_object_set_new_nocheck(*map, json_string_value(token), json_integer((json_int_t)id)))
            return no_memory(l);
    }
    return COT_OK;
}

/* Added tokens beyond the list have no score: a text is not cut into them. */
static cot_status read_scores(loader *l, const json_t *list)
{
    l->tokenizer->scores = cot_malloc(l->count * sizeof *l->tokenizer->scores);
    if (!l->tokenizer->scores) return no_memory(l);
    for (size_t id = 0; id < l->count; id++) {
        const json_t *entry = json_array_get(list, id);
        l->tokenizer->scores[id] = entry ? json_number_value(json_array_get(entry, 1)) : NAN;
    }
    return COT_OK;
}

/* ---- the whole ---- */

static cot_status read_vocabulary(loader *l, const json_t *model)
{
    json_t *vocab = json_object_get(model, "vocab"), *made = NULL;
    l->tokenizer->kind = json_is_array(vocab) ? COT_MODEL_UNIGRAM : COT_MODEL_BPE;
    cot_status status = json_is_array(vocab) ? map_pieces(l, vocab, &made) : COT_OK;
    l->vocab = made ? made : vocab;
    if (status == COT_OK && !json_object_size(l->vocab))
        status = cot_fail(COT_FORMAT, "%s: model.vocab is %s, expected tokens and their ids", l->name,
                          json_is_object(l->vocab) ? "empty" : cot_json_kind(l->vocab));
    if (status == COT_OK) status = read_tokens(l);
    if (status == COT_OK)
        status = made ? read_scores(l, vocab) : read_merges(l, json_object_get(model, "merges"));
    json_decref(made);
    return status;
}

static cot_status read_all(loader *l, const json_t *root)
{
    if (!json_is_object(root))
        return cot_fail(COT_FORMAT, "%s: %s, expected a tokenizer.json", l->name, cot_json_kind(root));
    const json_t *model = json_object_get(root, "model");
    COT_TRY(check_model(l, model));
    l->added = json_object_get(root, "added_tokens");
    if (l->added && !json_is_null(l->added) && !json_is_array(l->added))
        return cot_fail(COT_FORMAT, "%s: added_tokens is %s, expected a list", l->name, cot_json_kind(l->added));
    COT_TRY(read_vocabulary(l, model));
    COT_TRY(read_settings(l, model));
    COT_TRY(cot_sections_read(l->tokenizer, root, l->name));
    return cot_vocabulary_finish(l->tokenizer, l->name);
}

cot_status cot_tokenizer_parse(const char *text, size_t length, const char *name, cot_tokenizer **out)
{
    json_t *root;
    *out = NULL;
    COT_TRY(cot_json_parse(text, length, name, &root));
    loader           l = {.name = name, .tokenizer = cot_vocabulary_create()};
    const cot_status status = l.tokenizer ? read_all(&l, root) : no_memory(&l);
    cot_free(l.keys);
    cot_free(l.joined);
    json_decref(root);
    if (status == COT_OK) *out = l.tokenizer;
    else cot_tokenizer_destroy(l.tokenizer);
    return status;
}

/* ---- files ---- */

/* A tokenizer.json is text that begins with a brace; a SentencePiece model begins with a field of bytes. */
static bool is_json(const char *path, const char *text)
{
    const size_t length = strlen(path);
    if (length > 6 && !strcmp(path + length - 6, ".model")) return false;
    if (length > 5 && !strcmp(path + length - 5, ".json")) return true;
    return text[strspn(text, " \t\r\n")] == '{';
}

/* The token that a setting of tokenizer_config.json names: a text, or a map with its content. */
static int32_t configured_token(const cot_tokenizer *t, const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    return json_is_string(value)
               ? (int32_t)cot_byte_table_find(&t->keys, json_string_value(value), json_string_length(value))
               : -1;
}

/* tokenizer_config.json, where there is one, knows which token ends a text and whether one begins it. */
static cot_status read_config(const char *folder, cot_tokenizer *t)
{
    char *path = cot_path_join(folder, "tokenizer_config.json");
    json_t *config = NULL;
    if (!path) return cot_fail(COT_OUT_OF_MEMORY, "%s: a tokenizer", folder);
    const cot_status status = cot_file_exists(path) ? cot_json_read(path, FILE_BYTES_MAX, &config) : COT_OK;
    const int32_t    end = configured_token(t, config, "eos_token");
    if (end >= 0) t->end_of_text = end;
    if (json_is_true(json_object_get(config, "add_bos_token"))) t->start = configured_token(t, config, "bos_token");
    json_decref(config);
    cot_free(path);
    return status;
}

const char *cot_tokenizer_file_in(const char *folder)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096];
        const int length = snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (length < (int)sizeof path && cot_file_exists(path)) return names[i];
    }
    return NULL;
}

/* The tokenizer's file in a folder, or that which should be there; NULL when memory is short. */
static char *find_in_folder(const char *folder)
{
    const char *name = cot_tokenizer_file_in(folder);
    return cot_path_join(folder, name ? name : "tokenizer.json");
}

cot_status cot_tokenizer_load(const char *path, cot_tokenizer **out)
{
    *out = NULL;
    const bool is_folder = cot_folder_exists(path);
    char      *file = is_folder ? find_in_folder(path) : cot_strdup(path);
    if (!file) return cot_fail(COT_OUT_OF_MEMORY, "%s: a tokenizer", path);
    char      *text;
    size_t     length;
    cot_status status = cot_file_read(file, FILE_BYTES_MAX, &text, &length);
    if (status == COT_OK) {
        status = is_json(file, text) ? cot_tokenizer_parse(text, length, file, out)
                                     : cot_sentencepiece_parse(text, length, file, out);
        cot_free(text);
    }
    if (status == COT_OK && is_folder) status = read_config(path, *out);
    if (status != COT_OK) {
        cot_tokenizer_destroy(*out);
        *out = NULL;
    }
    cot_free(file);
    return status;
}
