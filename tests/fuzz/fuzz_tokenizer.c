/* tokenizer.json: what is taken encodes and decodes text; without loss where nothing in the file changes text. */
#include "data/tokenizers/vocabulary.h"
#include "fuzz.h"

static const char sample[] = "It's  the 3rd time, \xc3\xa9t\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87\n\n\tint x = 10; <|endoftext|>  aaaa";

static bool keeps_text(const cot_tokenizer *t)
{
    const cot_splitter *s = &t->splitter;
    bool strips = false;
    for (int32_t id = 0; id < cot_tokenizer_vocab_size(t); id++)
        strips |= (t->flags[id] & (COT_TOKEN_LSTRIP | COT_TOKEN_RSTRIP)) != 0;
    return !strips && !t->normalizer.count && s->byte_level && s->count == 1 && s->steps[0].kind == COT_SPLIT_GPT2;
}

static void round_trip(const cot_tokenizer *tokenizer, bool special)
{
    int32_t *ids;
    char *text;
    size_t count, length;
    const cot_status status = cot_tokenizer_encode(tokenizer, sample, sizeof sample - 1, special, &ids, &count);
    FUZZ_CHECK(status == COT_OK || (status == COT_INVALID && !keeps_text(tokenizer)));
    if (status != COT_OK) return;
    FUZZ_CHECK(cot_tokenizer_decode(tokenizer, ids, count, false, &text, &length) == COT_OK);
    if (keeps_text(tokenizer)) FUZZ_CHECK(length == sizeof sample - 1 && memcmp(text, sample, length) == 0);
    free(text);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cot_tokenizer *tokenizer;
    if (!fuzz_accepted(cot_tokenizer_parse((const char *)data, size, "fuzz.json", &tokenizer), "fuzz.json")) return 0;
    round_trip(tokenizer, true);
    round_trip(tokenizer, false);
    cot_tokenizer_destroy(tokenizer);
    return 0;
}
