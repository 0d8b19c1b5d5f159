/* model.safetensors.index.json: whatever it says, files beside it are read and no others. */
#include "formats/safetensors.h"
#include "fuzz.h"

/* One tensor of four bytes: the name is one letter. */
static void put_shard(const char *file, char tensor)
{
    char text[128] = {0};
    const int length = sprintf(text + 8, "{\"%c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", tensor);
    text[0] = (char)length;
    fuzz_file(file, text, 8 + (size_t)length + 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready) {
        put_shard("one.safetensors", 'a');
        put_shard("two.safetensors", 'b');
        ready = true;
    }
    fuzz_file("model.safetensors.index.json", data, size);
    cot_safetensors *set;
    if (!fuzz_accepted(cot_safetensors_open_folder(fuzz_folder(), &set), fuzz_folder())) return 0;
    for (size_t i = 0; i < cot_safetensors_count(set); i++) {
        const char *file = cot_safetensors_file(set, cot_safetensors_at(set, i)), *slash = strrchr(file, '/');
        FUZZ_CHECK(slash && (size_t)(slash - file) == strlen(fuzz_folder()) &&
                   strncmp(file, fuzz_folder(), strlen(fuzz_folder())) == 0);
    }
    cot_safetensors_close(set);
    return 0;
}
