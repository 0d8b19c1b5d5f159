/* Llama: a dense decoder.   [touvron2023llama] */
#include "formats/dialects/dialect.h"

static const cot_dialect_tensor tensors[] = {
    COT_DIALECT_DECODER, COT_DIALECT_QKV_BIAS, COT_DIALECT_OUTPUT_BIAS, COT_DIALECT_DENSE, COT_DIALECT_DENSE_BIAS,
    COT_DIALECT_END,
};

static const cot_dialect_key keys[] = {
    COT_KEYS_DECODER(32000, 4096, 32, 32, 0, 2048, 1e-6),
    COT_KEY("intermediate_size", INT, intermediate_size, 11008),
    COT_KEY("attention_bias", BOOL, qkv_bias, 0),
    COT_KEY("attention_bias", BOOL, output_bias, 0),
    COT_KEY("mlp_bias", BOOL, ffn_bias, 0),
    {.key = NULL},
};

const cot_dialect cot_dialect_llama = {
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .source = "touvron2023llama",
    .may = COT_TRAIT_ALL_BIASES | COT_TRAIT_FFN_BIAS | COT_TRAIT_HEAD_DIM | COT_TRAIT_SCALED_ROPE,
    .tensors = tensors,
    .keys = keys,
    .ignored = cot_dialect_ignored,
    .rope_theta = 10000,
};
