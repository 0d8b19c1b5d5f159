#include "data/tokenizers/added.h"

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/characters.h"
#include "data/tokenizers/vocabulary.h"

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "a tokenizer's added tokens"); }

/* What is looked for: the token's text, normalized where the text is; SentencePiece's symbols pass as they are. */
static cot_status add_entry(const cot_tokenizer *t, int32_t id, cot_normalizer_room *room, cot_trie_entry *entry)
{
    size_t      length;
    const char *text = cot_tokenizer_key(t, id, &length);
    if ((t->flags[id] & COT_TOKEN_NORMALIZED) && !t->sentencepiece)
        COT_TRY(cot_normalize(&t->normalizer, room, text, length, false, &text, &length));
    char *copy = cot_strndup(text, length);
    if (!copy) return no_memory();
    *entry = (cot_trie_entry){copy, length, id};
    return COT_OK;
}

cot_status cot_added_set_make(const cot_tokenizer *t, uint8_t normalized, cot_added_set *out)
{
    const uint8_t       both = COT_TOKEN_ADDED | COT_TOKEN_NORMALIZED;
    cot_normalizer_room room = {0};
    cot_status          status = COT_OK;
    size_t              count = 0;
    *out = (cot_added_set){.all_special = true};
    for (uint32_t id = 0; id < t->keys.count; id++)
        out->count += (t->flags[id] & both) == (COT_TOKEN_ADDED | normalized);
    cot_trie_entry *entries = cot_malloc(out->count * sizeof *entries);
    if (!entries) return no_memory();
    for (uint32_t id = 0; id < t->keys.count && status == COT_OK; id++) {
        if ((t->flags[id] & both) != (COT_TOKEN_ADDED | normalized)) continue;
        status = add_entry(t, (int32_t)id, &room, &entries[count]);
        count += status == COT_OK;
        out->all_special &= (t->flags[id] & COT_TOKEN_SPECIAL) != 0;
    }
    if (status == COT_OK) status = cot_trie_build(entries, count, &out->trie);
    for (size_t i = 0; i < count; i++) cot_free((char *)entries[i].bytes);
    cot_free(entries);
    cot_normalizer_room_release(&room);
    return status;
}

/* ---- looking for them ---- */

static bool stands_alone(const char *text, size_t length, size_t start, size_t end)
{
    if (start > 0 && cot_character_is_word(cot_character_before(text, text + start))) return false;
    return end == length || !cot_character_is_word(cot_character_at(text + end, text + length));
}

static size_t spaces_before(const char *text, size_t start)
{
    size_t at = start;
    while (at > 0) {
        const cot_character c = cot_character_before(text, text + at);
        if (!cot_character_is_space(c)) break;
        at -= c.size;
    }
    return start - at;
}

static size_t spaces_behind(const char *text, size_t length, size_t end)
{
    size_t at = end;
    while (at < length) {
        const cot_character c = cot_character_at(text + at, text + length);
        if (!cot_character_is_space(c)) break;
        at += c.size;
    }
    return at - end;
}

bool cot_added_find(const cot_tokenizer *t, const cot_added_set *set, const char *text, size_t length, size_t from,
                    size_t taken, bool allow_special, cot_added_match *out)
{
    for (size_t at = from, size = 0; at < length; at++) {
        if (!set->trie.begins[(unsigned char)text[at]]) continue;
        const int32_t id = cot_trie_longest(&set->trie, text + at, length - at, &size);
        if (id < 0) continue;
        const uint8_t flags = t->flags[id];
        *out = (cot_added_match){id, at, at + size, at + size};
        const bool counts = (allow_special || !(flags & COT_TOKEN_SPECIAL)) &&
                            (!(flags & COT_TOKEN_SINGLE_WORD) || stands_alone(text, length, at, at + size));
        if (!counts) {
            at += size - 1;
            continue;
        }
        if (flags & COT_TOKEN_LSTRIP) out->start -= spaces_before(text, at);
        if (out->start < taken) out->start = taken;
        if (flags & COT_TOKEN_RSTRIP) out->end += spaces_behind(text, length, out->end);
        return true;
    }
    return false;
}
