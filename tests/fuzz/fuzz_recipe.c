/* A recipe: YAML, then every option of model and training. Its data block is checked, then replaced, so that no input names a
 * file to read or a folder to write. */
#include <coterie/train.h>

#include "data/data_options.h"
#include "fuzz.h"

static void check_data(const cot_config *recipe)
{
    cot_data_options options;
    if (cot_data_options_read(cot_config_get(recipe, "data"), &options) == COT_OK) cot_data_options_release(&options);
}

/* What is written reads back as the same values. */
static void check_text(const cot_config *recipe)
{
    char *yaml, *before, *after;
    cot_config *copy;
    FUZZ_CHECK(cot_config_to_yaml(recipe, &yaml) == COT_OK && cot_config_to_json(recipe, &before) == COT_OK);
    FUZZ_CHECK(cot_config_parse(yaml, "again.yaml", &copy) == COT_OK && cot_config_to_json(copy, &after) == COT_OK);
    FUZZ_CHECK(strcmp(before, after) == 0);
    cot_config_destroy(copy);
    free(yaml);
    free(before);
    free(after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = cot_strndup((const char *)data, size);
    cot_config *recipe = NULL;
    cot_plan *plan = NULL;
    if (fuzz_accepted(cot_config_parse(text, "fuzz.yaml", &recipe), "fuzz.yaml")) {
        check_text(recipe);
        check_data(recipe);
        if (cot_config_set(recipe, "data={kind: random, vocab_size: 300, context: 32}") == COT_OK &&
            fuzz_accepted(cot_plan_create(recipe, NULL, NULL, &plan), "")) {
            (void)cot_plan_describe(plan);
            cot_plan_destroy(plan);
        }
    }
    cot_config_destroy(recipe);
    cot_free(text);
    return 0;
}
