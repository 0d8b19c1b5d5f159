/* Our own family, for models that no published one has a place for: published names where they exist (those of Llama
 * and Qwen2-MoE), names of the same kind for what has none, and internal names for the rest. The keys repeat what
 * other programs may want to know; the model itself is described under "coterie". */
#include "formats/dialects/dialect.h"

static const cot_dialect_tensor tensors[] = {
    COT_DIALECT_DECODER, COT_DIALECT_QKV_BIAS, COT_DIALECT_OUTPUT_BIAS, COT_DIALECT_QK_NORMS, COT_DIALECT_DENSE,
    COT_DIALECT_DENSE_BIAS, COT_DIALECT_EXPERTS, COT_DIALECT_SHARED,
    {"layers.{i}.ffn.router.noise_weight", "model.layers.{i}.mlp.gate.noise_weight", COT_PART_WHOLE},
    COT_DIALECT_END,
};

static const cot_dialect_key keys[] = {
    COT_KEY("vocab_size", INT, vocab_size, 0),
    COT_KEY("hidden_size", INT, hidden_size, 0),
    COT_KEY("intermediate_size", OPTIONAL, intermediate_size, 0),
    COT_KEY("num_hidden_layers", INT, num_layers, 0),
    COT_KEY("num_attention_heads", OPTIONAL, num_heads, 0),
    COT_KEY("num_key_value_heads", OPTIONAL, num_kv_heads, 0),
    COT_KEY("head_dim", OPTIONAL, head_dim, 0),
    COT_KEY("num_experts", OPTIONAL, num_experts, 0),
    COT_KEY("num_experts_per_tok", OPTIONAL, top_k, 0),
    COT_KEY("moe_intermediate_size", OPTIONAL, moe_intermediate_size, 0),
    COT_KEY("mlp_only_layers", LAYERS, dense, 0),
    COT_KEY("shared_expert_intermediate_size", OPTIONAL, shared_intermediate_size, 0),
    COT_KEY("norm_topk_prob", BOOL, norm_topk_prob, 0),
    COT_KEY("max_position_embeddings", INT, max_position, 0),
    COT_KEY("sliding_window", OPTIONAL, sliding_window, 0),
    COT_KEY("attention_bias", BOOL, qkv_bias, 0),
    COT_KEY("attention_output_bias", BOOL, output_bias, 0),
    COT_KEY("mlp_bias", BOOL, ffn_bias, 0),
    COT_KEY("use_qk_norm", BOOL, head_norms, 0),
    COT_KEY("use_qk_vector_norm", BOOL, vector_norms, 0),
    COT_KEY("initializer_range", REAL, initializer_range, 0.02),
    COT_KEY("rms_norm_eps", REAL, rms_norm_eps, 1e-5),
    COT_KEY("router_aux_loss_coef", REAL, router_aux_loss_coef, 0),
    COT_KEY("tie_word_embeddings", BOOL, tie_word_embeddings, 0),
    {.key = NULL},
};

static const char *const ignored[] = {NULL};

const cot_dialect cot_dialect_coterie = {
    .model_type = "coterie",
    .architecture = "CoterieForCausalLM",
    .may = (1u << COT_TRAITS) - 1,
    .tensors = tensors,
    .keys = keys,
    .ignored = ignored,
    .rope_theta = 10000,
    .keeps_unknown = true,
};
