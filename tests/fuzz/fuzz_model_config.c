/* config.json: a folder's model, without its weights. */
#include "formats/model_folder.h"
#include "fuzz.h"
#include "models/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cot_model_folder folder;
    cot_model *model;
    fuzz_file("config.json", data, size);
    if (!fuzz_accepted(cot_model_folder_read(fuzz_folder(), &folder), fuzz_folder())) return 0;
    const cot_status status = cot_model_create(folder.section, folder.card.vocab_size, folder.card.max_position, &model);
    if (fuzz_accepted(status, "")) {
        FUZZ_CHECK(cot_model_published_as(model));
        cot_model_destroy(model);
    }
    cot_model_folder_release(&folder);
    return 0;
}
