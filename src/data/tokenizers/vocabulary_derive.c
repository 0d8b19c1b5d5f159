/* The tables that are derived from a tokenizer's content, and the checks that it fits together. */
#include <math.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/byte_alphabet.h"
#include "data/tokenizers/characters.h"
#include "data/tokenizers/vocabulary.h"

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "a tokenizer's tables"); }

/* ---- what tokens stand for ---- */

/* Writes one text for the other; returns the length of the result, for which `out` has room. */
static size_t replace(const cot_decoder *d, const char *key, size_t length, char *out)
{
    const size_t find = strlen(d->find), content = strlen(d->content);
    size_t       used = 0;
    for (size_t i = 0; i < length;) {
        if (length - i >= find && !memcmp(key + i, d->find, find)) {
            memcpy(out + used, d->content, content);
            used += content;
            i += find;
        } else {
            out[used++] = key[i++];
        }
    }
    return used;
}

/* The bytes of a token; -1 when it has none. */
static int64_t token_bytes(const cot_tokenizer *t, uint32_t id, const char *key, size_t length, char *out)
{
    const int  byte = t->decoder.byte_fallback ? cot_fallback_byte(key, length) : -1;
    const bool added = t->flags[id] & COT_TOKEN_ADDED;
    if (!added && t->decoder.byte_level) return cot_key_to_bytes(key, length, out);
    if (byte >= 0) {
        *out = (char)byte;
        return 1;
    }
    if ((int32_t)id == t->unknown && t->decoder.unknown) {
        memcpy(out, t->decoder.unknown, strlen(t->decoder.unknown));
        return (int64_t)strlen(t->decoder.unknown);
    }
    if (t->decoder.find) return (int64_t)replace(&t->decoder, key, length, out);
    memcpy(out, key, length);
    return (int64_t)length;
}

/* Room for all tokens' bytes; replacing may make them longer. */
static cot_status make_room(cot_tokenizer *t)
{
    const uint32_t count = t->keys.count;
    size_t         room = t->keys.starts[count], growth = 1;
    if (t->decoder.find && strlen(t->decoder.content) > strlen(t->decoder.find)) growth = strlen(t->decoder.content);
    if (!cot_size_mul(room, growth, &room)) return no_memory();
    if (t->decoder.unknown) room += strlen(t->decoder.unknown);
    t->bytes = cot_malloc(room);
    t->starts = cot_malloc(((size_t)count + 1) * sizeof *t->starts);
    return t->bytes && t->starts ? COT_OK : no_memory();
}

static cot_status derive_bytes(cot_tokenizer *t, const char *name)
{
    size_t used = 0, length;
    COT_TRY(make_room(t));
    for (uint32_t id = 0; id < t->keys.count; id++) {
        const char   *key = cot_byte_table_at(&t->keys, id, &length);
        const int64_t bytes = token_bytes(t, id, key, length, t->bytes + used);
        if (bytes < 0 || !length)
            return cot_fail(COT_FORMAT, "%s: token %u is \"%.100s\", expected characters of GPT-2's byte alphabet",
                            name, id, key);
        t->starts[id] = used;
        used += (size_t)bytes;
        t->bytes[used++] = '\0';
    }
    t->starts[t->keys.count] = used;
    return COT_OK;
}

/* ---- tokens of single bytes ---- */

/* Published vocabularies leave out the bytes that no valid UTF-8 has. */
static bool occurs_in_utf8(int byte) { return byte != 0xc0 && byte != 0xc1 && byte < 0xf5; }

static cot_status derive_byte_ids(cot_tokenizer *t, const char *name)
{
    for (int byte = 0; byte < 256; byte++) {
        const char c = (char)byte;
        char       key[7];
        const int  length = snprintf(key, sizeof key, "<0x%02X>", (unsigned)byte);
        t->fallback_ids[byte] = t->byte_fallback ? (int32_t)cot_byte_table_find(&t->keys, key, (size_t)length) : -1;
        if (t->splitter.byte_level) t->byte_ids[byte] = cot_tokenizer_find(t, &c, 1);
        else t->byte_ids[byte] = byte < 0x80 ? (int32_t)cot_byte_table_find(&t->keys, &c, 1) : -1;
        if (t->splitter.byte_level && t->byte_ids[byte] < 0 && occurs_in_utf8(byte))
            return cot_fail(COT_FORMAT, "%s: no token for byte 0x%02x, expected one for each byte of UTF-8", name,
                            byte);
    }
    return COT_OK;
}

/* ---- merges ---- */

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

static uint32_t table_bits(size_t entries)
{
    uint32_t bits = 4;
    while (((size_t)1 << bits) < 2 * entries) bits++;
    return bits;
}

static cot_status derive_merges(cot_tokenizer *t, const char *name)
{
    const uint32_t bits = table_bits((size_t)t->merge_count);
    const size_t   count = (size_t)1 << bits;
    t->slot_shift = 64 - bits;
    t->slots = cot_malloc(count * sizeof *t->slots);
    if (!t->slots) return no_memory();
    for (size_t i = 0; i < count; i++) t->slots[i] = (cot_merge_slot){.rank = COT_NO_MERGE};
    for (int32_t i = 0; i < t->merge_count; i++) {
        const cot_merge merge = t->merges[i];
        cot_merge_slot *slot = &t->slots[cot_find_merge(t, merge.left, merge.right) - t->slots];
        if (slot->rank != COT_NO_MERGE)
            return cot_fail(COT_FORMAT, "%s: merge %d repeats merge %d, expected each pair once", name, i, slot->rank);
        if (!merge_fits(t, merge))
            return cot_fail(COT_FORMAT, "%s: merge %d gives token %d, an added token that stands for other bytes", name,
                            i, merge.id);
        *slot = (cot_merge_slot){cot_pair(merge.left, merge.right), merge.rank, merge.id};
    }
    return COT_OK;
}

/* ---- where a text can be cut ---- */

static void add_joint(cot_tokenizer *t, int32_t left, int32_t right)
{
    if (left < 0x80 && right < 0x80) {
        t->ascii_joints[left][right >> 6] |= (uint64_t)1 << (right & 63);
        return;
    }
    const uint64_t pair = cot_pair(left, right);
    const size_t   mask = SIZE_MAX >> t->joint_shift;
    size_t         i = cot_pair_hash(pair, t->joint_shift);
    while (t->joints[i] && t->joints[i] != pair) i = (i + 1) & mask;
    t->joints[i] = pair;
}

/* A merge joins the last character of its left part with the first of its right one. Tokens of single bytes stand for
 * parts of characters: where these merge, there is no telling. */
static cot_status derive_joints(cot_tokenizer *t)
{
    const uint32_t bits = table_bits((size_t)t->merge_count);
    size_t         left_length, right_length;
    if (t->splitter.byte_level) return COT_OK;
    t->joint_shift = 64 - bits;
    t->joints = cot_calloc(((size_t)1 << bits) * sizeof *t->joints);
    if (!t->joints) return no_memory();
    for (int32_t i = 0; i < t->merge_count; i++) {
        const char *left = cot_tokenizer_key(t, t->merges[i].left, &left_length);
        const char *right = cot_tokenizer_key(t, t->merges[i].right, &right_length);
        if (t->byte_fallback &&
            (cot_fallback_byte(left, left_length) >= 0 || cot_fallback_byte(right, right_length) >= 0)) {
            cot_free(t->joints);
            t->joints = NULL;
            return COT_OK;
        }
        add_joint(t, cot_character_before(left, left + left_length).code,
                  cot_character_at(right, right + right_length).code);
    }
    return COT_OK;
}

/* ---- unigram ---- */

enum { UNKNOWN_PENALTY = 10 };  /* as much worse than the rarest token is a character without one */

static cot_status derive_trie(cot_tokenizer *t)
{
    cot_trie_entry *entries = cot_malloc(t->keys.count * sizeof *entries);
    size_t          count = 0;
    double          lowest = INFINITY;
    if (!entries) return no_memory();
    for (uint32_t id = 0; id < t->keys.count; id++) {
        if (isnan(t->scores[id])) continue;
        size_t      length;
        const char *key = cot_byte_table_at(&t->keys, id, &length);
        entries[count++] = (cot_trie_entry){key, length, (int32_t)id};
        if (t->scores[id] < lowest) lowest = t->scores[id];
    }
    t->unknown_score = count ? lowest - UNKNOWN_PENALTY : -UNKNOWN_PENALTY;
    if (t->sentencepiece) t->unknown_score = (double)(float)t->unknown_score;
    const cot_status status = cot_trie_build(entries, count, &t->trie);
    cot_free(entries);
    return status;
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
    const uint64_t settings[] = {t->kind, t->sentencepiece, t->byte_fallback, t->fuse_unknown, t->ignore_merges,
                                 (uint64_t)t->unknown, (uint64_t)t->start};
    uint64_t hash = 0xcbf29ce484222325u;
    size_t   length;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) hash = hash_number(hash, settings[i]);
    for (int i = COT_SECTION_NORMALIZER; i <= COT_SECTION_PRE_TOKENIZER; i++)
        if (t->sections[i]) hash = hash_bytes(hash, t->sections[i], strlen(t->sections[i]) + 1);
    for (uint32_t id = 0; id < t->keys.count; id++) {
        const char *key = cot_byte_table_at(&t->keys, id, &length);
        hash = hash_number(hash, length);
        hash = hash_bytes(hash, key, length);
        hash = hash_number(hash, t->flags[id]);
        if (t->scores) hash = hash_bytes(hash, &t->scores[id], sizeof t->scores[id]);
    }
    for (int32_t i = 0; i < t->merge_count; i++) {
        hash = hash_number(hash, cot_pair(t->merges[i].left, t->merges[i].right));
        hash = hash_number(hash, cot_pair(t->merges[i].id, t->merges[i].rank));
    }
    return hash;
}

cot_status cot_vocabulary_finish(cot_tokenizer *t, const char *name)
{
    if (t->splitter.byte_level != t->decoder.byte_level)
        return cot_fail(COT_FORMAT, "%s: a ByteLevel %s without the other, expected pre_tokenizer and decoder to agree",
                        name, t->splitter.byte_level ? "pre_tokenizer" : "decoder");
    COT_TRY(derive_bytes(t, name));
    COT_TRY(derive_byte_ids(t, name));
    if (t->kind == COT_MODEL_BPE) {
        COT_TRY(derive_merges(t, name));
        COT_TRY(derive_joints(t));
    } else {
        COT_TRY(derive_trie(t));
    }
    COT_TRY(cot_added_set_make(t, 0, &t->added[0]));
    COT_TRY(cot_added_set_make(t, COT_TOKEN_NORMALIZED, &t->added[1]));
    t->fingerprint = fingerprint(t);
    return COT_OK;
}
