/* tokenizer.json: what is taken encodes and decodes text without loss. */
#include "data/tokenizers/vocabulary.h"
#include "fuzz.h"

static const char sample[] = "It's  the 3rd time, \xc3\xa9t\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87\n\n\tint x = 10; <|endoftext|>  aaaa";

static void round_trip(const cot_tokenizer *tokenizer, bool special)
{
    int32_t *ids;
    char *text;
    size_t count, length;
    FUZZ_CHECK(cot_tokenizer_encode(tokenizer, sample, sizeof sample - 1, special, &ids, &count) == COT_OK);
    FUZZ_CHECK(cot_tokenizer_decode(tokenizer, ids, count, false, &text, &length) == COT_OK);
    FUZZ_CHECK(length == sizeof sample - 1 && memcmp(text, sample, length) == 0);
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
