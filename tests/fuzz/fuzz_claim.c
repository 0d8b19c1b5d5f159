/* A claim's file, or with a first byte of 'r' the results of one. */
#include <coterie/claims.h>

#include "fuzz.h"

static const char claim_text[] =
    "recipe: {model: {kind: lm, hidden_size: 8, num_layers: 1, mixer: {kind: attention, num_heads: 1}, ffn: {kind: dense, intermediate_size: 8}},\n"
    "         data: {kind: random, vocab_size: 16, context: 8}, train: {steps: 4, batch: 2, optimizer: {kind: sgd}}}\n"
    "measures: [loss]\n"
    "arms: {a: {}, b: {set: {train.batch: 4}}}\n"
    "rules: [{that: 'loss: a < b'}]\n";

static void look(const char *path, const char *folder, const char *name)
{
    const cot_claim_options options = {.results = folder};
    cot_claim *claim;
    cot_claim_rule rule;
    char *page;
    if (!fuzz_accepted(cot_claim_open(path, &options, &claim), name)) return;
    for (size_t i = 0; cot_claim_rule_at(claim, i, &rule); i++) FUZZ_CHECK(rule.why);
    if (cot_claim_report(claim, &page) == COT_OK) free(page);
    cot_claim_destroy(claim);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char folder[4096];
    const bool results = size > 0 && data[0] == 'r';
    const char *written = results ? fuzz_file("fuzz.jsonl", data + 1, size - 1) : fuzz_file("none.jsonl", "", 0);
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(written, '/') - written), written);
    if (results) look(fuzz_file("fuzz.yaml", claim_text, sizeof claim_text - 1), folder, "fuzz.jsonl");
    else look(fuzz_file("claim.yaml", data, size), folder, "claim.yaml");
    return 0;
}
