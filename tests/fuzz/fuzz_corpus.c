/* A corpus file. The first byte says of what kind (text or rows, plain, gzip or zstd) and what is done about invalid UTF-8. */
#include <coterie/data.h>

#include "data/utf8.h"
#include "fuzz.h"

static const char *const names[] = {"a.txt", "a.jsonl", "a.txt.gz", "a.jsonl.gz", "a.txt.zst", "a.jsonl.zst"};
enum { NAMES = sizeof names / sizeof *names };

static cot_config *data_block(const char *path, bool replace)
{
    char text[1024];
    cot_config *config;
    snprintf(text, sizeof text, "{path: '%s', validation_fraction: 0.3, invalid: %s}", path, replace ? "replace" : "refuse");
    FUZZ_CHECK(cot_config_parse(text, "fuzz.yaml", &config) == COT_OK);
    return config;
}

static void read_split(const cot_config *config, cot_split split, const char *name)
{
    cot_texts *texts;
    if (!fuzz_accepted(cot_texts_open(config, split, &texts), name)) return;
    cot_text piece = {.source = 0};
    while (piece.source >= 0 && fuzz_accepted(cot_texts_next(texts, &piece), name))
        FUZZ_CHECK(cot_utf8_valid(piece.text ? piece.text : "", piece.length) == piece.length);
    cot_texts_close(texts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const char *name = names[data[0] % NAMES];
    cot_config *config = data_block(fuzz_file(name, data + 1, size - 1), data[0] / NAMES % 2);
    for (int split = 0; split < COT_SPLITS; split++) read_split(config, split, name);
    cot_config_destroy(config);
    return 0;
}
