/* Viterbi's algorithm over the places between characters: the best path to a place goes on with every token that the
 * text has there, or with one unknown character where no token of one character fits. [kudo2018subword] */
#include "data/tokenizers/unigram.h"

#include <math.h>

#include "base/fail.h"
#include "data/tokenizers/characters.h"
#include "data/tokenizers/growing.h"
#include "data/tokenizers/vocabulary.h"

enum { UNKNOWN = -1 };

/* Offers a way to the place behind `length` bytes; the first of equally good ones stays. */
static inline void offer(const cot_tokenizer *t, cot_path *from, int32_t id, double score, int32_t length)
{
    cot_path *to = from + length;
    double    sum = score + from->score;
    if (t->sentencepiece) sum = (double)(float)sum;  /* it adds in single precision */
    if (to->length && sum <= to->score) return;
    *to = (cot_path){sum, id, length};
}

/* SentencePiece lets the sums start over now and then, lest they lose precision: what is best so far becomes 0. */
static void start_over(cot_path *paths, size_t start, size_t furthest)
{
    const double so_far = paths[start].score;
    for (size_t i = start; i <= furthest; i++)
        if (i == start || paths[i].length) paths[i].score = (double)(float)(paths[i].score - so_far);
}

enum { LARGEST_SUM = 100000 };

static void find_paths(const cot_tokenizer *t, const char *text, size_t length, cot_path *paths)
{
    const char *const end = text + length;
    size_t            furthest = 0;
    for (size_t start = 0, size; start < length; start += size) {
        uint32_t node = COT_TRIE_ROOT;
        bool     known = false;  /* is there a token of just the first character? */
        size = cot_character_at(text + start, end).size;
        if (t->sentencepiece && fabs(paths[start].score) > LARGEST_SUM) start_over(paths, start, furthest);
        for (size_t at = start; at < length && (node = cot_trie_child(&t->trie, node, text[at])); at++) {
            const int32_t id = t->trie.values[node];
            if (id < 0) continue;
            offer(t, &paths[start], id, t->scores[id], (int32_t)(at + 1 - start));
            known |= at + 1 - start == size;
            if (at + 1 > furthest) furthest = at + 1;
        }
        if (known) continue;
        offer(t, &paths[start], UNKNOWN, t->unknown_score, (int32_t)size);
        if (start + size > furthest) furthest = start + size;
    }
}

/* An unknown character, or several when they are fused: the tokens of its bytes, or the unknown token. */
static size_t put_unknown(const cot_tokenizer *t, const char *text, size_t length, int32_t *ids)
{
    bool whole = t->byte_fallback;
    for (size_t i = 0; i < length; i++) {
        ids[i] = t->fallback_ids[(unsigned char)text[i]];
        whole &= ids[i] >= 0;
    }
    if (whole) return length;
    ids[0] = t->unknown;
    return t->unknown >= 0;
}

cot_status cot_unigram_encode(const cot_tokenizer *t, cot_unigram_room *room, const char *text, size_t length,
                              int32_t *ids, size_t *count)
{
    if (length >= INT32_MAX)
        return cot_fail(COT_INVALID, "%zu bytes of text without a place to cut, expected less than 2^31", length);
    const bool fuses = t->fuse_unknown && !t->byte_fallback;  /* also the unknown token where the text spells it */
    cot_path  *paths = cot_grown(room->paths, &room->capacity, length + 1, sizeof *paths);
    if (!paths) return cot_fail(COT_OUT_OF_MEMORY, "a piece of %zu bytes", length);
    room->paths = paths;
    memset(paths, 0, (length + 1) * sizeof *paths);
    find_paths(t, text, length, paths);
    /* Backwards along the best path, turned round by noting each token where it begins. */
    for (size_t end = length; end > 0;) {
        const size_t start = end - (size_t)paths[end].length;
        paths[start].score = (double)end;
        ids[start] = fuses && paths[end].id == t->unknown ? UNKNOWN : paths[end].id;
        end = start;
    }
    *count = 0;
    for (size_t at = 0, end; at < length; at = end) {
        const int32_t id = ids[at];
        end = (size_t)paths[at].score;
        if (id != UNKNOWN) {
            ids[(*count)++] = id;
            continue;
        }
        while (t->fuse_unknown && end < length && ids[end] == UNKNOWN) end = (size_t)paths[end].score;
        *count += put_unknown(t, text + at, end - at, ids + *count);
    }
    return COT_OK;
}
