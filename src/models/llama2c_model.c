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

static cot_status make_model(const cot_llama2c *f, cot_model **out)
{
    cot_config *section;
    COT_TRY(make_section(f, &section));
    cot_status status = cot_model_create(section, f->vocabulary, f->context, out);
    cot_config_destroy(section);
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
