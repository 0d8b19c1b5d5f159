#include "data/tokenizers/vocabulary.h"

#include <stdlib.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/byte_alphabet.h"

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "a tokenizer's tables"); }

void cot_tokenizer_destroy(cot_tokenizer *t)
{
    if (!t) return;
    cot_byte_table_release(&t->keys);
    cot_free(t->flags);
    cot_free(t->merges);
    cot_free(t->bytes);
    cot_free(t->starts);
    cot_free(t->slots);
    cot_free(t->added[0].tokens);
    cot_free(t->added[1].tokens);
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

int32_t cot_tokenizer_find(const cot_tokenizer *t, const char *bytes, size_t length)
{
    char stack[256] = {0}, *key = length <= sizeof stack / 2 ? stack : cot_malloc(2 * length);
    if (!key) return -1;
    size_t key_length = 0;
    for (size_t i = 0; i < length; i++) key_length += cot_byte_to_key((unsigned char)bytes[i], key + key_length);
    const int64_t id = cot_byte_table_find(&t->keys, key, key_length);
    if (key != stack) cot_free(key);
    return id >= 0 && !(t->flags[id] & COT_TOKEN_ADDED) ? (int32_t)id : -1;
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

int32_t cot_tokenizer_end_of_text(const cot_tokenizer *t)
{
    const int32_t id = cot_tokenizer_special(t, COT_END_OF_TEXT);
    if (id >= 0) return id;
    for (uint32_t i = 0; i < t->keys.count; i++)
        if (t->flags[i] & COT_TOKEN_SPECIAL) return (int32_t)i;
    return -1;
}

cot_status cot_tokenizer_decode(const cot_tokenizer *t, const int32_t *ids, size_t count, bool skip_special,
                                char **text, size_t *length)
{
    size_t total = 0, size;
    *text = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!cot_tokenizer_token(t, ids[i], &size))
            return cot_fail(COT_INVALID, "token id %d at place %zu, expected 0 to %u", ids[i], i, t->keys.count - 1);
        total += size;
    }
    char *out = malloc(total + 1);
    if (!out) return cot_fail(COT_OUT_OF_MEMORY, "the text of %zu tokens", count);
    *length = 0;
    for (size_t i = 0; i < count; i++) {
        if (skip_special && cot_tokenizer_is_special(t, ids[i])) continue;
        const char *bytes = cot_tokenizer_token(t, ids[i], &size);
        memcpy(out + *length, bytes, size);
        *length += size;
    }
    out[*length] = '\0';
    *text = out;
    return COT_OK;
}

/* ---- derived tables ---- */

static cot_status derive_bytes(cot_tokenizer *t, const char *name)
{
    const uint32_t count = t->keys.count;
    t->bytes = cot_malloc(t->keys.starts[count]);  /* keys are at least as long as what they stand for */
    t->starts = cot_malloc(((size_t)count + 1) * sizeof *t->starts);
    if (!t->bytes || !t->starts) return no_memory();
    size_t used = 0;
    for (uint32_t id = 0; id < count; id++) {
        size_t      key_length;
        const char *key = cot_byte_table_at(&t->keys, id, &key_length);
        int64_t     length = (int64_t)key_length;
        if (t->flags[id] & COT_TOKEN_ADDED)
            memcpy(t->bytes + used, key, key_length);
        else
            length = cot_key_to_bytes(key, key_length, t->bytes + used);
        if (length <= 0)
            return cot_fail(COT_FORMAT, "%s: token %u is \"%.100s\", expected characters of GPT-2's byte alphabet",
                            name, id, key);
        t->starts[id] = used;
        used += (size_t)length;
        t->bytes[used++] = '\0';
    }
    t->starts[count] = used;
    return COT_OK;
}

/* Published vocabularies leave out the bytes that no valid UTF-8 has. */
static bool occurs_in_utf8(int byte) { return byte != 0xc0 && byte != 0xc1 && byte < 0xf5; }

static cot_status derive_byte_ids(cot_tokenizer *t, const char *name)
{
    for (int byte = 0; byte < 256; byte++) {
        const char c = (char)byte;
        t->byte_ids[byte] = cot_tokenizer_find(t, &c, 1);
        if (t->byte_ids[byte] < 0 && occurs_in_utf8(byte))
            return cot_fail(COT_FORMAT, "%s: no token for byte 0x%02x, expected one for each byte of UTF-8", name,
                            byte);
    }
    return COT_OK;
}

/* Encoding must give text back, so a merge must stand for its two parts' bytes; an added token's need not. */
static bool merge_fits(const cot_tokenizer *t, cot_merge merge)
{
    size_t      left_length, right_length, length;
    const char *left = cot_tokenizer_token(t, merge.left, &left_length);
    const char *right = cot_tokenizer_token(t, merge.right, &right_length);
    const char *whole = cot_tokenizer_token(t, merge.id, &length);
    return length == left_length + right_length && !memcmp(whole, left, left_length) &&
           !memcmp(whole + left_length, right, right_length);
}

static cot_status derive_merges(cot_tokenizer *t, const char *name)
{
    uint32_t bits = 4;
    while (((int64_t)1 << bits) < 2 * (int64_t)t->merge_count) bits++;
    const size_t count = (size_t)1 << bits;
    t->slot_shift = 64 - bits;
    t->slots = cot_malloc(count * sizeof *t->slots);
    if (!t->slots) return no_memory();
    for (size_t i = 0; i < count; i++) t->slots[i] = (cot_merge_slot){.rank = COT_NO_MERGE};
    for (int32_t rank = 0; rank < t->merge_count; rank++) {
        const cot_merge merge = t->merges[rank];
        cot_merge_slot *slot = &t->slots[cot_find_merge(t, merge.left, merge.right) - t->slots];
        if (slot->rank != COT_NO_MERGE)
            return cot_fail(COT_FORMAT, "%s: merge %d repeats merge %d, expected each pair once", name, rank,
                            slot->rank);
        if (!merge_fits(t, merge))
            return cot_fail(COT_FORMAT, "%s: merge %d gives token %d, an added token that stands for other bytes", name,
                            rank, merge.id);
        *slot = (cot_merge_slot){cot_pair(merge.left, merge.right), rank, merge.id};
    }
    return COT_OK;
}

/* By first byte, then longer ones first, so that the first that fits is the longest. No two are equal. */
static int compare_added(const void *a, const void *b)
{
    const cot_added_token *x = a, *y = b;
    const int              order = (unsigned char)x->bytes[0] - (unsigned char)y->bytes[0];
    if (order) return order;
    if (x->length != y->length) return x->length > y->length ? -1 : 1;
    return memcmp(x->bytes, y->bytes, x->length);
}

/* The set of the added tokens that have, or have not, the flag COT_TOKEN_NORMALIZED. */
static cot_status derive_added(const cot_tokenizer *t, uint8_t normalized, cot_added_set *set)
{
    size_t count = 0, next = 0;
    for (uint32_t id = 0; id < t->keys.count; id++)
        count += (t->flags[id] & (COT_TOKEN_ADDED | COT_TOKEN_NORMALIZED)) == (COT_TOKEN_ADDED | normalized);
    set->all_special = true;
    set->tokens = cot_malloc(count * sizeof *set->tokens);
    if (!set->tokens) return no_memory();
    for (uint32_t id = 0; id < t->keys.count; id++) {
        if ((t->flags[id] & (COT_TOKEN_ADDED | COT_TOKEN_NORMALIZED)) != (COT_TOKEN_ADDED | normalized)) continue;
        cot_added_token *token = &set->tokens[next++];
        token->id = (int32_t)id;
        token->bytes = cot_tokenizer_token(t, token->id, &token->length);
        set->all_special &= (t->flags[id] & COT_TOKEN_SPECIAL) != 0;
    }
    qsort(set->tokens, count, sizeof *set->tokens, compare_added);
    next = 0;
    for (unsigned byte = 0; byte <= 256; byte++) {
        while (next < count && (unsigned char)set->tokens[next].bytes[0] < byte) next++;
        set->first[byte] = (uint32_t)next;
    }
    return COT_OK;
}

/* ---- fingerprint: FNV-1a over everything that decides about ids ---- */

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) hash = (hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return hash;
}

static uint64_t hash_number(uint64_t hash, uint64_t number)
{
    for (int shift = 0; shift < 64; shift += 8) hash = (hash ^ (number >> shift & 0xff)) * 0x100000001b3u;
    return hash;
}

static uint64_t fingerprint(const cot_tokenizer *t)
{
    static const char kind[] = "byte-level BPE, GPT-2 pattern";
    uint64_t          hash = hash_bytes(0xcbf29ce484222325u, kind, sizeof kind);
    for (uint32_t id = 0; id < t->keys.count; id++) {
        size_t      length;
        const char *key = cot_byte_table_at(&t->keys, id, &length);
        hash = hash_number(hash, length);
        hash = hash_bytes(hash, key, length);
        hash = hash_number(hash, t->flags[id]);
    }
    for (int32_t rank = 0; rank < t->merge_count; rank++) {
        hash = hash_number(hash, cot_pair(t->merges[rank].left, t->merges[rank].right));
        hash = hash_number(hash, (uint64_t)t->merges[rank].id);
    }
    return hash;
}

cot_status cot_vocabulary_finish(cot_tokenizer *t, const char *name)
{
    COT_TRY(derive_bytes(t, name));
    COT_TRY(derive_byte_ids(t, name));
    COT_TRY(derive_merges(t, name));
    COT_TRY(derive_added(t, 0, &t->added[0]));
    COT_TRY(derive_added(t, COT_TOKEN_NORMALIZED, &t->added[1]));
    t->fingerprint = fingerprint(t);
    return COT_OK;
}
