/* model.safetensors: every tensor that is listed can be read. */
#include "formats/safetensors.h"
#include "fuzz.h"

static void read_tensor(const cot_safetensors *set, const cot_stored_tensor *tensor)
{
    FUZZ_CHECK(cot_safetensors_find(set, tensor->name) == tensor);
    FUZZ_CHECK(tensor->bytes == (size_t)tensor->count * cot_stored_size(tensor->dtype));
    if (!cot_stored_readable(tensor->dtype, COT_F32) || tensor->count == 0) return;
    float *values = malloc((size_t)tensor->count * sizeof *values);
    FUZZ_CHECK(values && cot_safetensors_read(set, tensor, COT_F32, values) == COT_OK);
    free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cot_safetensors *set;
    if (!fuzz_accepted(cot_safetensors_parse(data, size, "fuzz.safetensors", &set), "fuzz.safetensors")) return 0;
    size_t bytes = 0;
    for (size_t i = 0; i < cot_safetensors_count(set); i++) {
        read_tensor(set, cot_safetensors_at(set, i));
        bytes += cot_safetensors_at(set, i)->bytes;
    }
    FUZZ_CHECK(bytes < size);
    cot_safetensors_close(set);
    return 0;
}
