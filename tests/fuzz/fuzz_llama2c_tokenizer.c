/* A tokenizer of llama2.c: what is accepted encodes a text, and decodes what it encoded. */
#include "data/tokenizers/llama2c_tokenizer.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "a b  c\xc3\xa9\n";
    cot_tokenizer *t;
    int32_t *ids;
    size_t count, length;
    char *back;
    if (!fuzz_accepted(cot_llama2c_tokenizer_parse((const char *)data, size, "fuzz.bin", &t), "fuzz.bin")) return 0;
    if (cot_tokenizer_encode(t, text, sizeof text - 1, false, &ids, &count) == COT_OK) {
        FUZZ_CHECK(cot_tokenizer_decode(t, ids, count, true, &back, &length) == COT_OK);
        free(back);
        free(ids);
    }
    cot_tokenizer_destroy(t);
    return 0;
}
