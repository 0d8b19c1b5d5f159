/* Llama: a dense decoder.   [touvron2023llama] */
#include "formats/dialects/dialect.h"

static const cot_dialect_tensor tensors[] = {
    COT_DIALECT_DECODER,
    COT_DIALECT_DENSE,
    {NULL, NULL, COT_PART_WHOLE},
};

static const cot_dialect_key keys[] = {
    COT_KEY("vocab_size", INT, vocab_size, 32000),
    COT_KEY("hidden_size", INT, hidden_size, 4096),
    COT_KEY("intermediate_size", INT, intermediate_size, 11008),
    COT_KEY("num_hidden_layers", INT, num_layers, 32),
    COT_KEY("num_attention_heads", INT, num_heads, 32),
    COT_KEY("num_key_value_heads", OPTIONAL, num_kv_heads, 0),
    COT_KEY("head_dim", OPTIONAL, head_dim, 0),
    COT_KEY("max_position_embeddings", INT, max_position, 2048),
    COT_KEY("initializer_range", REAL, initializer_range, 0.02),
    COT_KEY("rms_norm_eps", REAL, rms_norm_eps, 1e-6),
    COT_KEY("tie_word_embeddings", BOOL, tie_word_embeddings, 0),
    COT_KEY_MUST_BE("attention_bias", "false"),
    COT_KEY_MUST_BE("mlp_bias", "false"),
    {.key = NULL},
};

static const char *const ignored[] = {"lm_head.weight", "model.layers.{i}.self_attn.rotary_emb.inv_freq", NULL};

static const char *misfit(const cot_model_card *card)
{
    if (card->num_experts > 0) return "experts";
    if (card->attention_bias) return "biases on q, k and v without one on the output";
    if (card->qk_norm) return "norms of q and k";
    if (card->sliding_window > 0) return "a sliding window";
    if (card->rope_theta <= 0) return "no rotary positions";
    return card->beyond;
}

const cot_dialect cot_dialect_llama = {
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .tensors = tensors,
    .keys = keys,
    .ignored = ignored,
    .rope_theta = 10000,
    .misfit = misfit,
};
