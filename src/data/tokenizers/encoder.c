/* Encoding a text: added tokens are cut out, the rest goes through the pre-tokenizer, and each pre-token through a
 * cache of those seen lately or through the merges.
 *
 * The cache is an array of one cache line each, picked by the pre-token's hash; a newcomer takes the place over. It
 * needs no upkeep and never grows. */
#include <coterie/tokenizer.h>

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/bpe.h"
#include "data/tokenizers/growing.h"
#include "data/tokenizers/pretokenizer.h"
#include "data/tokenizers/vocabulary.h"

enum { CACHED_IDS = 10, CACHED_BYTES = 22 };

typedef struct {
    int32_t ids[CACHED_IDS];
    uint8_t count;   /* of ids; 0 = nothing here */
    uint8_t length;  /* of bytes */
    char    bytes[CACHED_BYTES];
} cache_line;

_Static_assert(sizeof(cache_line) == COT_ALIGNMENT, "an entry is a cache line");

struct cot_tokenizer_encoder {
    const cot_tokenizer *tokenizer;
    cache_line          *cache;
    size_t               cache_mask;
    int32_t             *ids;
    size_t               count, capacity;
    bool                 allow_special;
};

enum { CACHE_LINES_MIN = 1 << 6, CACHE_LINES_MAX = 1 << 15 };

static cot_status encoder_create(const cot_tokenizer *tokenizer, size_t lines_wanted, cot_tokenizer_encoder **out)
{
    size_t lines = CACHE_LINES_MIN;
    while (lines < CACHE_LINES_MAX && lines < lines_wanted) lines *= 2;
    *out = NULL;
    cot_tokenizer_encoder *e = cot_calloc(sizeof *e);
    if (!e) return cot_fail(COT_OUT_OF_MEMORY, "an encoder");
    e->tokenizer = tokenizer;
    e->cache_mask = lines - 1;
    e->cache = cot_calloc(lines * sizeof *e->cache);
    if (!e->cache) {
        cot_free(e);
        return cot_fail(COT_OUT_OF_MEMORY, "an encoder's cache");
    }
    *out = e;
    return COT_OK;
}

cot_status cot_tokenizer_encoder_create(const cot_tokenizer *tokenizer, cot_tokenizer_encoder **out)
{
    return encoder_create(tokenizer, CACHE_LINES_MAX, out);
}

void cot_tokenizer_encoder_destroy(cot_tokenizer_encoder *e)
{
    if (!e) return;
    cot_free(e->cache);
    cot_free(e->ids);
    cot_free(e);
}

static cot_status reserve(cot_tokenizer_encoder *e, size_t more)
{
    if (e->capacity - e->count >= more) return COT_OK;
    int32_t *ids = cot_grown(e->ids, &e->capacity, e->count + more, sizeof *ids);
    if (!ids) return cot_fail(COT_OUT_OF_MEMORY, "%zu token ids", e->count + more);
    e->ids = ids;
    return COT_OK;
}

static cot_status encode_pretoken(cot_tokenizer_encoder *e, const char *bytes, size_t length)
{
    COT_TRY(reserve(e, length > CACHED_IDS ? length : CACHED_IDS));
    int32_t *ids = e->ids + e->count;
    size_t   count;
    if (length > CACHED_BYTES) {
        COT_TRY(cot_bpe_encode(e->tokenizer, bytes, length, ids, &count));
        e->count += count;
        return COT_OK;
    }
    cache_line *line = &e->cache[cot_hash_bytes(bytes, length) & e->cache_mask];
    if (line->count && line->length == length && !memcmp(line->bytes, bytes, length)) {
        memcpy(ids, line->ids, sizeof line->ids);  /* all of them: a fixed size is faster */
        e->count += line->count;
        return COT_OK;
    }
    COT_TRY(cot_bpe_encode(e->tokenizer, bytes, length, ids, &count));
    e->count += count;
    if (count > CACHED_IDS) return COT_OK;
    memcpy(line->ids, ids, count * sizeof *ids);
    memcpy(line->bytes, bytes, length);
    line->count = (uint8_t)count;
    line->length = (uint8_t)length;
    return COT_OK;
}

static cot_status encode_plain(cot_tokenizer_encoder *e, const char *text, size_t length)
{
    while (length) {
        const size_t size = cot_pretoken_length(text, length);
        COT_TRY(encode_pretoken(e, text, size));
        text += size;
        length -= size;
    }
    return COT_OK;
}

/* The longest added token that `text` begins with, or NULL. */
static const cot_added_token *match_added(const cot_tokenizer_encoder *e, const cot_added_set *set, const char *text,
                                          size_t length)
{
    const unsigned char byte = (unsigned char)*text;
    for (uint32_t i = set->first[byte]; i < set->first[byte + 1]; i++) {
        const cot_added_token *token = &set->tokens[i];
        if (token->length > length || memcmp(token->bytes, text, token->length)) continue;
        if (e->allow_special || !cot_tokenizer_is_special(e->tokenizer, token->id)) return token;
    }
    return NULL;
}

/* Cuts the added tokens of sets `level` and above out of the text and encodes what lies between them. */
static cot_status encode_text(cot_tokenizer_encoder *e, const char *text, size_t length, int level)
{
    if (level == 2) return encode_plain(e, text, length);
    const cot_added_set *set = &e->tokenizer->added[level];
    if (!set->first[256] || (set->all_special && !e->allow_special)) return encode_text(e, text, length, level + 1);
    size_t start = 0;
    for (size_t at = 0; at < length;) {
        const cot_added_token *token = match_added(e, set, text + at, length - at);
        if (!token) {
            at++;
            continue;
        }
        COT_TRY(encode_text(e, text + start, at - start, level + 1));
        COT_TRY(reserve(e, 1));
        e->ids[e->count++] = token->id;
        start = at += token->length;
    }
    return encode_text(e, text + start, length - start, level + 1);
}

cot_status cot_tokenizer_encoder_run(cot_tokenizer_encoder *e, const char *text, size_t length, bool allow_special,
                                     const int32_t **ids, size_t *count)
{
    e->count = 0;
    e->allow_special = allow_special;
    *ids = NULL;
    *count = 0;
    COT_TRY(encode_text(e, text, length, 0));
    *ids = e->ids;
    *count = e->count;
    return COT_OK;
}

cot_status cot_tokenizer_encode(const cot_tokenizer *tokenizer, const char *text, size_t length, bool allow_special,
                                int32_t **ids, size_t *count)
{
    cot_tokenizer_encoder *e;
    const int32_t         *found;
    *ids = NULL;
    COT_TRY(encoder_create(tokenizer, length / 8, &e));
    cot_status status = cot_tokenizer_encoder_run(e, text, length, allow_special, &found, count);
    if (status == COT_OK) {
        *ids = malloc((*count ? *count : 1) * sizeof **ids);
        if (!*ids) status = cot_fail(COT_OUT_OF_MEMORY, "%zu token ids", *count);
        else if (*count) memcpy(*ids, found, *count * sizeof **ids);
    }
    cot_tokenizer_encoder_destroy(e);
    return status;
}
