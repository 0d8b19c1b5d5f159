/* A pre-tokenizer's regular expression, up to the first NUL, and behind it the text to be cut. */
#include "data/tokenizers/pattern.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = memchr(data, 0, size);
    const size_t length = nul ? (size_t)(nul - data) : size;
    const char *text = nul ? (const char *)nul + 1 : "";
    const size_t text_length = nul ? size - length - 1 : 0;
    cot_pattern pattern = {0};
    if (!fuzz_accepted(cot_pattern_compile((const char *)data, length, "fuzz.json: pattern", &pattern), "fuzz.json")) return 0;
    size_t start = 0, end = 0;
    while (end < text_length && fuzz_accepted(cot_pattern_find(&pattern, text, text_length, end, &start, &end), "")) {
        FUZZ_CHECK(start <= end && end <= text_length);
        if (start == end) break;
    }
    cot_pattern_release(&pattern);
    return 0;
}
