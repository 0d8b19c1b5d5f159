#include "data/tokenizers/vocabulary.h"

#include <stdlib.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/byte_alphabet.h"

const char *const cot_section_names[COT_SECTIONS] = {"normalizer", "pre_tokenizer", "post_processor", "decoder"};

cot_tokenizer *cot_vocabulary_create(void)
{
    cot_tokenizer *t = cot_calloc(sizeof *t);
    if (t) t->unknown = t->start = t->stop = t->end_of_text = -1;
    return t;
}

void cot_tokenizer_destroy(cot_tokenizer *t)
{
    if (!t) return;
    for (int i = 0; i < COT_SECTIONS; i++) cot_free(t->sections[i]);
    for (int i = 0; i < 2; i++) cot_trie_release(&t->added[i].trie);
    cot_byte_table_release(&t->keys);
    cot_normalizer_release(&t->normalizer);
    cot_splitter_release(&t->splitter);
    cot_decoder_release(&t->decoder);
    cot_trie_release(&t->trie);
    cot_free(t->flags);
    cot_free(t->merges);
    cot_free(t->scores);
    cot_free(t->bytes);
    cot_free(t->starts);
    cot_free(t->slots);
    cot_free(t->joints);
    cot_free(t);
}

int32_t  cot_tokenizer_vocab_size(const cot_tokenizer *t) { return (int32_t)t->keys.count; }
uint64_t cot_tokenizer_fingerprint(const cot_tokenizer *t) { return t->fingerprint; }

const char *cot_tokenizer_token(const cot_tokenizer *t, int32_t id, size_t *length)
{
    *length = 0;
    if (id < 0 || (uint32_t)id >= t->keys.count) return NULL;
    *length = t->starts[id + 1] - t->starts[id] - 1;
    return t->bytes + t->starts[id];
}

const char *cot_tokenizer_first_token(const cot_tokenizer *t, int32_t id, size_t *length)
{
    const char *bytes = cot_tokenizer_token(t, id, length);
    if (t->decoder.strip == COT_STRIP_NOTHING || !bytes || *bytes != ' ') return bytes;
    size_t spaces = 1;
    while (t->decoder.strip == COT_STRIP_ALL && bytes[spaces] == ' ') spaces++;
    *length -= spaces;
    return bytes + spaces;
}

/* The token with this key, added ones left aside. */
static int32_t find_key(const cot_tokenizer *t, const char *key, size_t length)
{
    const int64_t id = cot_byte_table_find(&t->keys, key, length);
    return id >= 0 && !(t->flags[id] & COT_TOKEN_ADDED) ? (int32_t)id : -1;
}

/* Writes the key of some bytes, at most four times as long: the decoder's rule backwards. */
static size_t write_key(const cot_tokenizer *t, const char *bytes, size_t length, char *key)
{
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        if (t->splitter.byte_level) {
            used += cot_byte_to_key((unsigned char)bytes[i], key + used);
        } else if (bytes[i] == ' ' && t->decoder.find && !strcmp(t->decoder.content, " ")) {
            const size_t size = strlen(t->decoder.find);
            memcpy(key + used, t->decoder.find, size);
            used += size;
        } else {
            key[used++] = bytes[i];
        }
    }
    return used;
}

int32_t cot_tokenizer_find(const cot_tokenizer *t, const char *bytes, size_t length)
{
    const size_t widest = t->decoder.find ? strlen(t->decoder.find) + 2 : 2;
    char         stack[256] = {0}, *key = length <= sizeof stack / widest ? stack : cot_malloc(widest * length);
    if (!key) return -1;
    const int32_t id = find_key(t, key, write_key(t, bytes, length, key));
    if (key != stack) cot_free(key);
    return id >= 0 || length != 1 ? id : t->fallback_ids[(unsigned char)*bytes];
}

int32_t cot_tokenizer_special(const cot_tokenizer *t, const char *text)
{
    const int64_t id = cot_byte_table_find(&t->keys, text, strlen(text));
    return id >= 0 && (t->flags[id] & COT_TOKEN_SPECIAL) ? (int32_t)id : -1;
}

bool cot_tokenizer_is_special(const cot_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->keys.count && (t->flags[id] & COT_TOKEN_SPECIAL);
}

int32_t cot_tokenizer_start_of_text(const cot_tokenizer *t) { return t->start; }

int32_t cot_tokenizer_end_of_text(const cot_tokenizer *t)
{
    static const char *const names[] = {COT_END_OF_TEXT, "</s>", "<|end_of_text|>", "<eos>", "[SEP]"};
    if (t->end_of_text >= 0) return t->end_of_text;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const int32_t id = cot_tokenizer_special(t, names[i]);
        if (id >= 0) return id;
    }
    for (uint32_t i = 0; i < t->keys.count; i++)
        if (t->flags[i] & COT_TOKEN_SPECIAL) return (int32_t)i;
    return -1;
}

/* The text of one token of a sequence; `open` while nothing stands before it. */
static const char *next_text(const cot_tokenizer *t, int32_t id, bool *open, bool skip_special, size_t *length)
{
    *length = 0;
    if (skip_special && cot_tokenizer_is_special(t, id)) return "";
    const char *text = *open ? cot_tokenizer_first_token(t, id, length) : cot_tokenizer_token(t, id, length);
    *open = false;
    return text;
}

cot_status cot_tokenizer_decode(const cot_tokenizer *t, const int32_t *ids, size_t count, bool skip_special,
                                char **text, size_t *length)
{
    size_t total = 0, size;
    bool   open = true;
    *text = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!cot_tokenizer_token(t, ids[i], &size))
            return cot_fail(COT_INVALID, "token id %d at place %zu, expected 0 to %u", ids[i], i, t->keys.count - 1);
        total += size;
    }
    char *out = cot_plain_malloc(total + 1);
    if (!out) return cot_fail(COT_OUT_OF_MEMORY, "the text of %zu tokens", count);
    *length = 0;
    for (size_t i = 0; i < count; i++) {
        const char *bytes = next_text(t, ids[i], &open, skip_special, &size);
        memcpy(out + *length, bytes, size);
        *length += size;
    }
    out[*length] = '\0';
    *text = out;
    return COT_OK;
}
