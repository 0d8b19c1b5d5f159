#include "formats/logits.h"

#include "base/fail.h"
#include "base/memory.h"
#include "formats/json.h"

enum { IDS_LIMIT = 16 << 20 };

static cot_status read_ids(const char *path, const json_t *root, int64_t vocab_size, int32_t *ids)
{
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *item = json_array_get(root, i);
        if (!json_is_integer(item))
            return cot_fail(COT_FORMAT, "'%s': item %zu is %s, expected a token id", path, i, cot_json_kind(item));
        const json_int_t id = json_integer_value(item);
        if (id < 0 || id >= vocab_size)
            return cot_fail(COT_FORMAT, "'%s': item %zu is token %lld, expected 0 to %lld", path, i, (long long)id,
                            (long long)vocab_size - 1);
        ids[i] = (int32_t)id;
    }
    return COT_OK;
}

cot_status cot_token_ids_read(const char *path, int64_t vocab_size, int32_t **ids, size_t *count)
{
    *ids = NULL;
    *count = 0;
    json_t *root;
    COT_TRY(cot_json_read(path, IDS_LIMIT, &root));
    cot_status status = COT_OK;
    if (json_array_size(root) == 0)
        status = cot_fail(COT_FORMAT, "'%s': %s, expected a list of token ids", path,
                          json_is_array(root) ? "an empty list" : cot_json_kind(root));
    else if (!(*ids = cot_malloc(json_array_size(root) * sizeof **ids)))
        status = cot_fail(COT_OUT_OF_MEMORY, "'%s': no memory for its token ids", path);
    else
        status = read_ids(path, root, vocab_size, *ids);
    if (status == COT_OK) {
        *count = json_array_size(root);
    } else {
        cot_free(*ids);
        *ids = NULL;
    }
    json_decref(root);
    return status;
}

static cot_tensor_entry logits_entry(const float *logits, int64_t tokens, int64_t vocab_size)
{
    return (cot_tensor_entry){.name = "logits",
                              .dtype = COT_F32,
                              .rank = 2,
                              .shape = {tokens, vocab_size},
                              .data = logits,
                              .data_dtype = COT_F32};
}

cot_status cot_logits_writer_open(const char *path, int64_t tokens, int64_t vocab_size, cot_safetensors_writer **out)
{
    const cot_tensor_entry entry = logits_entry(NULL, tokens, vocab_size);
    return cot_safetensors_writer_open(path, &entry, 1, out);
}

cot_status cot_logits_write(const char *path, const float *logits, int64_t tokens, int64_t vocab_size)
{
    const cot_tensor_entry entry = logits_entry(logits, tokens, vocab_size);
    return cot_safetensors_write(path, &entry, 1);
}
