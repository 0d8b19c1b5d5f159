/* What a tokenizer that was taken must do with a text, whatever its file said. */
#ifndef COT_TESTS_FUZZ_TOKENIZER_CHECK_H
#define COT_TESTS_FUZZ_TOKENIZER_CHECK_H

#include "data/tokenizers/vocabulary.h"
#include "fuzz.h"

static const char sample[] = "It's  the 3rd time, \xc3\xa9t\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87\n\n\tint x = 10; <|endoftext|>  aaaa \xff\xe2\x96\x81 e\xcc\x81";

/* Byte-level BPE that changes nothing gives every text back. */
static inline bool is_lossless(const cot_tokenizer *t)
{
    static const char plain[] = "{\"type\":\"ByteLevel\"";
    const cot_splitter *s = &t->splitter;
    bool lossless = t->kind == COT_MODEL_BPE && !t->normalizer.count && s->count == 1 && s->steps[0].kind == COT_SPLIT_GPT2 &&
                    s->byte_level && t->sections[COT_SECTION_DECODER] &&
                    strncmp(t->sections[COT_SECTION_DECODER], plain, sizeof plain - 1) == 0;
    for (int byte = 0; byte < 256; byte++) lossless &= t->byte_ids[byte] >= 0;
    for (uint32_t id = 0; id < t->keys.count; id++) lossless &= !(t->flags[id] & (COT_TOKEN_LSTRIP | COT_TOKEN_RSTRIP));
    return lossless;
}

static inline void check_round_trip(const cot_tokenizer *tokenizer, bool special)
{
    int32_t *ids;
    char *text;
    size_t count, length;
    if (!fuzz_accepted(cot_tokenizer_encode(tokenizer, sample, sizeof sample - 1, special, &ids, &count), "")) {
        FUZZ_CHECK(!is_lossless(tokenizer));
        return;
    }
    for (size_t i = 0; i < count; i++) FUZZ_CHECK(ids[i] >= 0 && ids[i] < cot_tokenizer_vocab_size(tokenizer));
    FUZZ_CHECK(cot_tokenizer_decode(tokenizer, ids, count, false, &text, &length) == COT_OK);
    if (is_lossless(tokenizer)) FUZZ_CHECK(length == sizeof sample - 1 && memcmp(text, sample, length) == 0);
    free(text);
    free(ids);
}

#endif
