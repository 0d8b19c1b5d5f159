/* SentencePiece models: what is taken encodes and decodes text, also bytes that are no valid UTF-8. */
#include "data/tokenizers/vocabulary.h"
#include "fuzz.h"

static const char sample[] = "It's  the 3rd\ttime, \xc3\xa9t\xc3\xa9 \xe4\xb8\xad\xff\n<s>  aaaa \xe2\x96\x81";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cot_tokenizer *tokenizer;
    int32_t *ids;
    char *text;
    size_t count, length;
    if (!fuzz_accepted(cot_sentencepiece_parse((const char *)data, size, "fuzz.model", &tokenizer), "fuzz.model")) return 0;
    for (int special = 0; special < 2; special++) {
        FUZZ_CHECK(cot_tokenizer_encode(tokenizer, sample, sizeof sample - 1, special, &ids, &count) == COT_OK);
        FUZZ_CHECK(cot_tokenizer_decode(tokenizer, ids, count, false, &text, &length) == COT_OK);
        free(text);
        free(ids);
    }
    cot_tokenizer_destroy(tokenizer);
    return 0;
}
