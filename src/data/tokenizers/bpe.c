/* Two ways to the same result. A short pre-token is an array of ranks, searched for its lowest again after each merge.
 * A long one is a linked list with a heap of the merges that are possible: n log n. */
#include "data/tokenizers/bpe.h"

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/characters.h"
#include "data/tokenizers/vocabulary.h"

enum { SHORT = 48 };

static void merge_short(const cot_tokenizer *t, size_t size, int32_t *ids, size_t *count)
{
    int32_t ranks[SHORT];  /* of merging i with i + 1 */
    size_t  n = size;
    for (size_t i = 0; i + 1 < n; i++) ranks[i] = cot_find_merge(t, ids[i], ids[i + 1])->rank;
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == COT_NO_MERGE) break;
        ids[best] = cot_find_merge(t, ids[best], ids[best + 1])->id;
        n--;
        for (size_t i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            ranks[i - 1] = ranks[i];
        }
        if (best + 1 < n) ranks[best] = cot_find_merge(t, ids[best], ids[best + 1])->rank;
        if (best > 0) ranks[best - 1] = cot_find_merge(t, ids[best - 1], ids[best])->rank;
    }
    *count = n;
}

/* ---- long pre-tokens ---- */

enum { GONE = -1 };  /* the id of a place that a merge has swallowed */

typedef struct {
    const cot_tokenizer *tokenizer;
    int32_t             *ids;
    uint32_t            *next, *previous;  /* places; `size` is the end */
    uint64_t            *heap;             /* rank << 32 | place, the lowest on top */
    size_t               heap_size;
    uint32_t             size;
} long_word;

static void heap_sift_down(uint64_t *heap, size_t size, size_t at)
{
    const uint64_t item = heap[at];
    for (size_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= item) break;
        heap[at] = heap[child];
    }
    heap[at] = item;
}

static void heap_push(long_word *w, uint64_t item)
{
    size_t at = w->heap_size++;
    for (size_t parent; at > 0 && w->heap[parent = (at - 1) / 2] > item; at = parent) w->heap[at] = w->heap[parent];
    w->heap[at] = item;
}

static uint64_t heap_pop(long_word *w)
{
    const uint64_t top = w->heap[0];
    w->heap[0] = w->heap[--w->heap_size];
    if (w->heap_size) heap_sift_down(w->heap, w->heap_size, 0);
    return top;
}

/* The rank of merging the token at `place` with the one behind it. */
static int32_t rank_at(const long_word *w, uint32_t place)
{
    const uint32_t next = w->next[place];
    return next == w->size ? COT_NO_MERGE : cot_find_merge(w->tokenizer, w->ids[place], w->ids[next])->rank;
}

static void push_merge(long_word *w, uint32_t place)
{
    const int32_t rank = rank_at(w, place);
    if (rank != COT_NO_MERGE) heap_push(w, (uint64_t)rank << 32 | place);
}

static void merge_at(long_word *w, uint32_t place)
{
    const uint32_t swallowed = w->next[place], after = w->next[swallowed];
    w->ids[place] = cot_find_merge(w->tokenizer, w->ids[place], w->ids[swallowed])->id;
    w->ids[swallowed] = GONE;
    w->next[place] = after;
    if (after < w->size) w->previous[after] = place;
    if (place > 0) push_merge(w, w->previous[place]);
    push_merge(w, place);
}

static void merge_all(long_word *w)
{
    for (uint32_t i = 0; i < w->size; i++) {
        w->next[i] = i + 1;
        w->previous[i] = i - 1;  /* place 0 is never asked */
    }
    for (uint32_t i = 0; i < w->size; i++) {
        const int32_t rank = rank_at(w, i);
        if (rank != COT_NO_MERGE) w->heap[w->heap_size++] = (uint64_t)rank << 32 | i;
    }
    for (size_t i = w->heap_size / 2; i-- > 0;) heap_sift_down(w->heap, w->heap_size, i);
    while (w->heap_size) {
        const uint64_t top = heap_pop(w);
        const uint32_t place = (uint32_t)top;
        const int32_t  rank = (int32_t)(top >> 32);
        const bool     current = w->ids[place] != GONE && rank_at(w, place) == rank;
        if (current) merge_at(w, place);
    }
}

static cot_status merge_long(const cot_tokenizer *t, size_t length, int32_t *ids, size_t *count)
{
    /* Each merge takes one entry off the heap, puts at most two on it, and there are fewer merges than bytes. */
    long_word w = {.tokenizer = t, .ids = ids, .size = (uint32_t)length};
    w.heap = cot_malloc(2 * length * sizeof *w.heap);
    w.next = cot_malloc(length * sizeof *w.next);
    w.previous = cot_malloc(length * sizeof *w.previous);
    const bool enough = w.heap && w.next && w.previous;
    if (enough) {
        merge_all(&w);
        *count = 0;
        for (uint32_t i = 0; i < w.size; i = w.next[i]) ids[(*count)++] = ids[i];
    }
    cot_free(w.heap);
    cot_free(w.next);
    cot_free(w.previous);
    return enough ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "a word of %zu bytes", length);
}

static cot_status no_such_byte(const cot_tokenizer *t, const char *bytes)
{
    while (t->byte_ids[(unsigned char)*bytes] >= 0) bytes++;
    return cot_fail(COT_INVALID, "the text has the byte 0x%02x, for which the tokenizer has no token; expected UTF-8",
                    (unsigned char)*bytes);
}

/* ---- tokens before any merge ---- */

static cot_status split_bytes(const cot_tokenizer *t, const char *bytes, size_t length, int32_t *ids)
{
    int32_t all = 0;
    for (size_t i = 0; i < length; i++) all |= ids[i] = t->byte_ids[(unsigned char)bytes[i]];
    return all < 0 ? no_such_byte(t, bytes) : COT_OK;
}

/* A character without a token: the tokens of its bytes where all are there, else the unknown token, if any. */
static size_t split_unknown(const cot_tokenizer *t, const char *bytes, size_t length, int32_t *ids)
{
    bool whole = t->byte_fallback;
    for (size_t i = 0; whole && i < length; i++) whole = t->fallback_ids[(unsigned char)bytes[i]] >= 0;
    if (!whole) {
        if (t->unknown >= 0) *ids = t->unknown;
        return t->unknown >= 0;
    }
    for (size_t i = 0; i < length; i++) ids[i] = t->fallback_ids[(unsigned char)bytes[i]];
    return length;
}

static size_t split_characters(const cot_tokenizer *t, const char *bytes, size_t length, int32_t *ids)
{
    const char *const end = bytes + length;
    size_t            count = 0;
    for (cot_character c; bytes < end; bytes += c.size) {
        c = cot_character_at(bytes, end);
        const int32_t id = c.size == 1 ? t->byte_ids[(unsigned char)*bytes]
                                       : (int32_t)cot_byte_table_find(&t->keys, bytes, c.size);
        if (id >= 0) {
            ids[count++] = id;
            continue;
        }
        const size_t unknown = split_unknown(t, bytes, c.size, ids + count);
        const bool fused =
            unknown && t->fuse_unknown && count && ids[count] == t->unknown && ids[count - 1] == t->unknown;
        count += fused ? 0 : unknown;
    }
    return count;
}

cot_status cot_bpe_encode(const cot_tokenizer *t, const char *bytes, size_t length, int32_t *ids, size_t *count)
{
    size_t size = length;
    if (length > INT32_MAX)
        return cot_fail(COT_INVALID, "%zu bytes of text without a place to cut, expected less than 2^31", length);
    if (t->ignore_merges && (ids[0] = cot_tokenizer_find(t, bytes, length)) >= 0) {
        *count = 1;
        return COT_OK;
    }
    if (t->splitter.byte_level) COT_TRY(split_bytes(t, bytes, length, ids));
    else size = split_characters(t, bytes, length, ids);
    if (size > SHORT) return merge_long(t, size, ids, count);
    merge_short(t, size, ids, count);
    return COT_OK;
}
