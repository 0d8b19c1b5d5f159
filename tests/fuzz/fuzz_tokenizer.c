/* tokenizer.json. */
#include "tokenizer_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cot_tokenizer *tokenizer;
    if (!fuzz_accepted(cot_tokenizer_parse((const char *)data, size, "fuzz.json", &tokenizer), "fuzz.json")) return 0;
    check_round_trip(tokenizer, true);
    check_round_trip(tokenizer, false);
    cot_tokenizer_destroy(tokenizer);
    return 0;
}
