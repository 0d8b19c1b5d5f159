/* Training byte-level BPE. Pre-tokens ("words") are counted first; the merges then work on the different words, each
 * once. A merge rewrites the words that hold its pair and corrects the counts of the pairs around it.
 *
 * All pairs with the new token come into being in its own merge, so a pair is queued once and its count only falls
 * later. No two merges spell the same token: where a span became a token, nothing had crossed its borders, so its
 * merges were those of the span on its own. The result is that of Hugging Face's trainer, but for one thing: a pair
 * that spells a special token is not merged, lest plain text turn into it. */
#include <coterie/tokenizer.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/byte_alphabet.h"
#include "data/tokenizers/growing.h"
#include "data/tokenizers/pair_table.h"
#include "data/tokenizers/pretokenizer.h"
#include "data/tokenizers/section.h"
#include "data/tokenizers/vocabulary.h"
#include "data/utf8.h"

typedef struct {
    cot_tokenizer *tokenizer;
    cot_byte_table words;
    int64_t       *frequency;  /* [words] */
    size_t         frequency_capacity;
    int32_t       *symbols;    /* the words as token ids, each where its bytes are in words.bytes */
    uint32_t      *sizes;      /* [words] tokens left in each */
    cot_pair_table pairs;
    char          *key;        /* of the token in the making */
    size_t         key_capacity;
} trainer;

static const char name[] = "tokenizer training";

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "%s", name); }

static void trainer_release(trainer *t)
{
    cot_byte_table_release(&t->words);
    cot_pair_table_release(&t->pairs);
    cot_free(t->frequency);
    cot_free(t->symbols);
    cot_free(t->sizes);
    cot_free(t->key);
}

/* ---- the vocabulary before any merge ---- */

static cot_status add_token(cot_tokenizer *t, const char *key, size_t length, uint8_t flags)
{
    const uint32_t before = t->keys.count;
    uint32_t       id;
    COT_TRY(cot_byte_table_add(&t->keys, key, length, &id));
    if (id < before)
        return cot_fail(COT_INVALID, "%s: special token '%s' is there twice or is a byte symbol", name, key);
    t->flags[id] = flags;
    return COT_OK;
}

static cot_status add_special(cot_tokenizer *t, const char *text)
{
    const size_t length = text ? strlen(text) : 0;
    if (!length || cot_utf8_valid(text, length) != length)
        return cot_fail(COT_INVALID, "%s: special token %u is empty or not valid UTF-8", name, t->keys.count);
    return add_token(t, text, length, COT_TOKEN_ADDED | COT_TOKEN_SPECIAL);
}

static cot_status add_bytes(cot_tokenizer *t)
{
    unsigned char order[256];
    cot_byte_alphabet_order(order);
    for (int i = 0; i < 256; i++) {
        char         key[3] = {0};
        const size_t length = cot_byte_to_key(order[i], key);
        COT_TRY(add_token(t, key, length, 0));
    }
    return COT_OK;
}

static cot_status start_vocabulary(cot_tokenizer *t, const cot_tokenizer_options *options)
{
    t->flags = cot_calloc((size_t)options->vocab_size);
    if (!t->flags) return no_memory();
    for (size_t i = 0; i < options->special_count; i++) COT_TRY(add_special(t, options->special_tokens[i]));
    return add_bytes(t);
}

/* ---- words ---- */

static cot_status count_words(trainer *t, const char *text, size_t length)
{
    while (length) {
        const size_t   size = cot_pretoken_length(text, length);
        const uint32_t before = t->words.count;
        uint32_t       word;
        COT_TRY(cot_byte_table_add(&t->words, text, size, &word));
        if (word == before) {
            int64_t *frequency = cot_grown(t->frequency, &t->frequency_capacity, (size_t)word + 1, sizeof *frequency);
            if (!frequency) return no_memory();
            t->frequency = frequency;
            frequency[word] = 0;
        }
        t->frequency[word]++;
        text += size;
        length -= size;
    }
    return COT_OK;
}

static cot_status read_words(trainer *t, cot_text_reader next, void *context)
{
    if (!next) return cot_fail(COT_INVALID, "%s: no text, expected some to find merges in", name);
    for (;;) {
        const char *text = NULL;
        size_t      length = 0;
        COT_TRY(next(context, &text, &length));
        if (!text) break;
        COT_TRY(count_words(t, text, length));
    }
    if (!t->words.count) return cot_fail(COT_INVALID, "%s: the text is empty", name);
    return COT_OK;
}

static cot_status words_to_symbols(trainer *t)
{
    const cot_byte_table *words = &t->words;
    const size_t          total = words->starts[words->count];
    unsigned char         order[256];
    int32_t               ids[256];
    cot_byte_alphabet_order(order);
    for (int i = 0; i < 256; i++) ids[order[i]] = (int32_t)t->tokenizer->keys.count - 256 + i;
    t->symbols = cot_malloc(total * sizeof *t->symbols);
    t->sizes = cot_malloc(words->count * sizeof *t->sizes);
    if (!t->symbols || !t->sizes) return no_memory();
    for (size_t i = 0; i < total; i++) t->symbols[i] = ids[(unsigned char)words->bytes[i]];
    for (uint32_t word = 0; word < words->count; word++) {
        const size_t length = words->starts[word + 1] - words->starts[word] - 1;
        if (length > UINT32_MAX)
            return cot_fail(COT_INVALID, "%s: a word of %zu bytes, expected less than 2^32", name, length);
        t->sizes[word] = (uint32_t)length;
    }
    return COT_OK;
}

static cot_status count_pairs(trainer *t)
{
    COT_TRY(cot_pair_table_init(&t->pairs));
    for (uint32_t word = 0; word < t->words.count; word++) {
        const int32_t *s = t->symbols + t->words.starts[word];
        for (uint32_t i = 0; i + 1 < t->sizes[word]; i++)
            COT_TRY(cot_pair_table_change(&t->pairs, s[i], s[i + 1], t->frequency[word], word));
    }
    return cot_pair_table_queue_fresh(&t->pairs);
}

/* ---- merges ---- */

/* Replaces the merge's pair by its token all over the word, and corrects the counts of the pairs around. */
static cot_status rewrite_word(trainer *t, uint32_t word, cot_merge merge)
{
    int32_t       *s = t->symbols + t->words.starts[word];
    const int64_t  frequency = t->frequency[word];
    const uint32_t size = t->sizes[word];
    uint32_t       out = 0;
    for (uint32_t i = 0; i < size;) {
        if (i + 1 == size || s[i] != merge.left || s[i + 1] != merge.right) {
            s[out++] = s[i++];
            continue;
        }
        i += 2;
        if (out > 0) {
            COT_TRY(cot_pair_table_change(&t->pairs, s[out - 1], merge.left, -frequency, word));
            COT_TRY(cot_pair_table_change(&t->pairs, s[out - 1], merge.id, frequency, word));
        }
        if (i < size) {
            COT_TRY(cot_pair_table_change(&t->pairs, merge.right, s[i], -frequency, word));
            COT_TRY(cot_pair_table_change(&t->pairs, merge.id, s[i], frequency, word));
        }
        s[out++] = merge.id;
    }
    t->sizes[word] = out;
    return COT_OK;
}

/* Adds the token that a merge makes; a special token's id when it spells one. */
static cot_status add_merged_token(trainer *t, cot_merge *merge)
{
    cot_byte_table *keys = &t->tokenizer->keys;
    size_t          left_length, right_length;
    uint32_t        id;
    const char     *left = cot_tokenizer_key(t->tokenizer, merge->left, &left_length);
    const char     *right = cot_tokenizer_key(t->tokenizer, merge->right, &right_length);
    char           *key = cot_grown(t->key, &t->key_capacity, left_length + right_length, 1);
    if (!key) return no_memory();
    t->key = key;
    memcpy(key, left, left_length);
    memcpy(key + left_length, right, right_length);
    COT_TRY(cot_byte_table_add(keys, key, left_length + right_length, &id));
    merge->id = (int32_t)id;
    return COT_OK;
}

static cot_status merge_pair(trainer *t, uint64_t pair, uint32_t words)
{
    cot_tokenizer *v = t->tokenizer;
    cot_merge      merge = {.left = (int32_t)(pair >> 32), .right = (int32_t)(uint32_t)pair};
    COT_TRY(add_merged_token(t, &merge));
    if (v->flags[merge.id] & COT_TOKEN_SPECIAL) return COT_OK;
    merge.rank = v->merge_count;
    v->merges[v->merge_count++] = merge;
    for (uint32_t node = words; node != COT_NO_NODE; node = t->pairs.nodes[node].next)
        COT_TRY(rewrite_word(t, t->pairs.nodes[node].word, merge));
    cot_pair_table_free_words(&t->pairs, words);
    return cot_pair_table_queue_fresh(&t->pairs);
}

static cot_status find_merges(trainer *t, const cot_tokenizer_options *options)
{
    const int64_t  min_count = options->min_frequency ? options->min_frequency : 2;
    const uint32_t wanted = (uint32_t)options->vocab_size;
    uint64_t       pair;
    uint32_t       words;
    t->tokenizer->merges = cot_malloc((wanted - t->tokenizer->keys.count) * sizeof *t->tokenizer->merges);
    if (!t->tokenizer->merges) return no_memory();
    while (t->tokenizer->keys.count < wanted && cot_pair_table_pop(&t->pairs, min_count, &pair, &words))
        COT_TRY(merge_pair(t, pair, words));
    return COT_OK;
}

/* What stands around the model in the file: GPT-2's. */
static cot_status set_sections(cot_tokenizer *t)
{
    static const char sections[] =
        "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true},"
        " \"post_processor\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": false, \"use_regex\": true},"
        " \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true}}";
    json_t *root;
    COT_TRY(cot_json_parse(sections, sizeof sections - 1, name, &root));
    const cot_status status = cot_sections_read(t, root, name);
    json_decref(root);
    return status;
}

static cot_status train(trainer *t, const cot_tokenizer_options *options, cot_text_reader next, void *context)
{
    COT_TRY(start_vocabulary(t->tokenizer, options));
    if ((uint32_t)options->vocab_size > t->tokenizer->keys.count) {
        COT_TRY(read_words(t, next, context));
        COT_TRY(words_to_symbols(t));
        COT_TRY(count_pairs(t));
        COT_TRY(find_merges(t, options));
    }
    COT_TRY(set_sections(t->tokenizer));
    return cot_vocabulary_finish(t->tokenizer, name);
}

static cot_status check_options(const cot_tokenizer_options *options)
{
    const size_t least = 256 + options->special_count;
    if (options->special_count > COT_VOCAB_SIZE_MAX || options->vocab_size < 0 || (size_t)options->vocab_size < least ||
        options->vocab_size > COT_VOCAB_SIZE_MAX)
        return cot_fail(COT_INVALID, "%s: vocab_size is %d, expected %zu (256 bytes, %zu special tokens) to %d", name,
                        options->vocab_size, least, options->special_count, COT_VOCAB_SIZE_MAX);
    if (options->min_frequency < 0)
        return cot_fail(COT_INVALID, "%s: min_frequency is %lld, expected 0 or more", name,
                        (long long)options->min_frequency);
    return COT_OK;
}

cot_status cot_tokenizer_train(const cot_tokenizer_options *options, cot_text_reader next, void *context,
                               cot_tokenizer **out)
{
    static const char *const default_special[] = {COT_END_OF_TEXT};
    cot_tokenizer_options    o = *options;
    if (!o.special_tokens) {
        o.special_tokens = default_special;
        o.special_count = 1;
    }
    *out = NULL;
    COT_TRY(check_options(&o));
    trainer t = {.tokenizer = cot_vocabulary_create()};
    if (!t.tokenizer) return no_memory();
    const cot_status status = train(&t, &o, next, context);
    trainer_release(&t);
    if (status == COT_OK) *out = t.tokenizer;
    else cot_tokenizer_destroy(t.tokenizer);
    return status;
}
