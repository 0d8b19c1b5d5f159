/* Models from llama2.c's checkpoints. */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "formats/llama2c.h"
#include "models/llama2c_model.h"

/* The same model in a recipe's words. */
static cot_status make_section(const cot_llama2c *f, cot_config **out)
{
    char text[512];
    snprintf(text, sizeof text,
             "{kind: lm, hidden_size: %lld, num_layers: %lld, rms_norm_eps: %g, tie_word_embeddings: %s, "
             "mixer: {kind: attention, num_heads: %lld, num_kv_heads: %lld, rope_theta: %d}, ffn: {kind: dense, "
             "intermediate_size: %lld}}",
             (long long)f->width, (long long)f->layers, COT_LLAMA2C_EPS, f->tied ? "true" : "false",
             (long long)f->heads, (long long)f->kv_heads, COT_LLAMA2C_THETA, (long long)f->hidden);
    return cot_config_parse(text, f->path, out);
}

static cot_status declare(const cot_llama2c *f, cot_model **out)
{
    cot_config *section;
    COT_TRY(make_section(f, &section));
    const cot_status status = cot_model_create(section, f->vocabulary, f->context, out);
    cot_config_destroy(section);
    return status;
}

static cot_status make_model(const cot_llama2c *f, cot_model **out)
{
    cot_status status = declare(f, out);
    if (status == COT_OK) status = cot_params_allocate_raw((*out)->params);
    if (status == COT_OK) cot_llama2c_read(f, (*out)->params);
    return status;
}

cot_status cot_llama2c_load(const char *path, cot_model **out)
{
    cot_llama2c file;
    *out = NULL;
    COT_TRY(cot_llama2c_open(path, &file));
    const cot_status status = make_model(&file, out);
    cot_llama2c_close(&file);
    if (status == COT_OK) return status;
    cot_model_destroy(*out);
    *out = NULL;
    return status;
}

cot_status cot_llama2c_describe(const char *path, cot_config **section, int64_t *vocab_size, int64_t *context)
{
    cot_llama2c file;
    *section = NULL;
    COT_TRY(cot_llama2c_open(path, &file));
    *vocab_size = file.vocabulary;
    *context = file.context;
    const cot_status status = make_section(&file, section);
    cot_llama2c_close(&file);
    return status;
}

/* Has `params` what `wanted` has, and nothing else? */
static cot_status check_params(const char *path, cot_params *params, cot_params *wanted)
{
    for (size_t i = 0; i < cot_params_count(wanted); i++) {
        const cot_param *want = cot_params_at(wanted, i), *have = cot_params_find(params, want->name);
        if (!have || have->value.rank != want->value.rank ||
            memcmp(have->value.shape, want->value.shape, sizeof want->value.shape) != 0)
            return cot_fail(COT_SHAPE_MISMATCH, "'%s' has '%s' of %lld numbers, the model does not", path, want->name,
                            (long long)cot_tensor_count(&want->value));
    }
    for (size_t i = 0; i < cot_params_count(params); i++)
        if (!cot_params_find(wanted, cot_params_at(params, i)->name))
            return cot_fail(COT_SHAPE_MISMATCH, "'%s' has no '%s', the model has", path,
                            cot_params_at(params, i)->name);
    return COT_OK;
}

cot_status cot_llama2c_load_weights(cot_model *model, const char *path)
{
    cot_llama2c file;
    cot_model *wanted = NULL;
    COT_TRY(cot_llama2c_open(path, &file));
    cot_status status = declare(&file, &wanted);
    if (status == COT_OK) status = check_params(path, model->params, wanted->params);
    if (status == COT_OK) status = cot_params_allocate_raw(model->params);
    if (status == COT_OK) cot_llama2c_read(&file, model->params);
    cot_model_destroy(wanted);
    cot_llama2c_close(&file);
    return status;
}
