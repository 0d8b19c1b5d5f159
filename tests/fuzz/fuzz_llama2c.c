/* A checkpoint of llama2.c: what is accepted is a model whose every weight came from the file. */
#include "fuzz.h"
#include "models/llama2c_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cot_model *model;
    const char *path = fuzz_file("fuzz.bin", data, size);
    if (!fuzz_accepted(cot_llama2c_load(path, &model), "fuzz.bin")) return 0;
    FUZZ_CHECK(4 * (size_t)cot_params_elements(model->params, false) < size);
    cot_model_destroy(model);
    return 0;
}
