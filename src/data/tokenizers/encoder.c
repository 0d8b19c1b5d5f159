/* Encoding a text: added tokens are cut out, the rest is normalized and cut into pieces, and each piece goes through a
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
#include "data/tokenizers/characters.h"
#include "data/tokenizers/growing.h"
#include "data/tokenizers/unigram.h"
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
    bool                 goes_on;  /* the text goes on where another one ended */
    cot_normalizer_room  normalizer;
    cot_splitter_room    splitter;
    cot_unigram_room     unigram;
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
    if (!e->cache || cot_splitter_room_create(&tokenizer->splitter, &e->splitter) != COT_OK) {
        cot_tokenizer_encoder_destroy(e);
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
    cot_normalizer_room_release(&e->normalizer);
    cot_splitter_room_release(&e->splitter);
    cot_free(e->unigram.paths);
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

/* Encodes a stretch of text that no token crosses the ends of. */
static cot_status encode_word(cot_tokenizer_encoder *e, const char *bytes, size_t length)
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

/* A piece of BPE over characters may be a whole text: it is cut where no merge joins two neighbours. An unknown
 * character is always cut out; the unknown token of several in a row may be one. */
static cot_status encode_joined(cot_tokenizer_encoder *e, const char *text, size_t length)
{
    const cot_tokenizer *t = e->tokenizer;
    const char *const    end = text + length;
    cot_character        before = cot_character_at(text, end), c;
    bool                 after_unknown = false;
    for (const char *start = text, *at = text + before.size; start < end; before = c, at += c.size) {
        c = at < end ? cot_character_at(at, end) : (cot_character){-1, 1};
        if (at < end && cot_may_join(t, before.code, c.code)) continue;
        const size_t size = (size_t)(at - start), count = e->count;
        COT_TRY(encode_word(e, start, size));
        const bool unknown = e->count == count + 1 && e->ids[count] == t->unknown && size == before.size;
        if (unknown && after_unknown && t->fuse_unknown) e->count--;
        after_unknown = unknown;
        start = at;
    }
    return COT_OK;
}

static cot_status encode_unigram(cot_tokenizer_encoder *e, const char *text, size_t length)
{
    size_t count;
    COT_TRY(reserve(e, length));
    COT_TRY(cot_unigram_encode(e->tokenizer, &e->unigram, text, length, e->ids + e->count, &count));
    e->count += count;
    return COT_OK;
}

static cot_status encode_piece(void *encoder, const char *text, size_t length)
{
    cot_tokenizer_encoder *e = encoder;
    const cot_tokenizer   *t = e->tokenizer;
    if (t->kind == COT_MODEL_UNIGRAM) return encode_unigram(e, text, length);
    return t->joints && !t->ignore_merges ? encode_joined(e, text, length) : encode_word(e, text, length);
}

static cot_status encode_plain(cot_tokenizer_encoder *e, const char *text, size_t length, bool first)
{
    return cot_split(&e->tokenizer->splitter, &e->splitter, text, length, first, encode_piece, e);
}

/* Cuts the added tokens of sets `level` and above out of the text and encodes what lies between them.
 *
 *   first   nothing of the text stands before */
static cot_status encode_text(cot_tokenizer_encoder *e, const char *text, size_t length, int level, bool first)
{
    if (!length) return COT_OK;
    if (level == 1)
        COT_TRY(cot_normalize(&e->tokenizer->normalizer, &e->normalizer, text, length, e->goes_on && first, &text,
                              &length));
    if (level == 2) return encode_plain(e, text, length, first && !e->goes_on);
    const cot_added_set *set = &e->tokenizer->added[level];
    if (!set->count || (set->all_special && !e->allow_special)) return encode_text(e, text, length, level + 1, first);
    cot_added_match match;
    size_t          taken = 0;
    for (size_t from = 0; cot_added_find(e->tokenizer, set, text, length, from, taken, e->allow_special, &match);
         from = match.next) {
        if (match.start > taken) COT_TRY(encode_text(e, text + taken, match.start - taken, level + 1, first && !taken));
        COT_TRY(reserve(e, 1));
        e->ids[e->count++] = match.id;
        taken = match.end;
    }
    if (taken >= length) return COT_OK;
    return encode_text(e, text + taken, length - taken, level + 1, first && !taken);
}

void cot_tokenizer_encoder_go_on(cot_tokenizer_encoder *e) { e->goes_on = true; }

cot_status cot_tokenizer_encoder_run(cot_tokenizer_encoder *e, const char *text, size_t length, bool allow_special,
                                     const int32_t **ids, size_t *count)
{
    e->count = 0;
    e->allow_special = allow_special;
    *ids = NULL;
    *count = 0;
    const cot_status status = encode_text(e, text, length, 0, true);
    e->goes_on = false;
    if (status != COT_OK) return status;
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
        *ids = cot_plain_malloc((*count ? *count : 1) * sizeof **ids);
        if (!*ids) status = cot_fail(COT_OUT_OF_MEMORY, "%zu token ids", *count);
        else if (*count) memcpy(*ids, found, *count * sizeof **ids);
    }
    cot_tokenizer_encoder_destroy(e);
    return status;
}
