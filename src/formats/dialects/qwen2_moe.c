/* Qwen2-MoE: fine-grained experts beside a shared one with a sigmoid gate, biases on q, k and v, dense layers where
 * mlp_only_layers or decoder_sparse_step say so.   [yang2024qwen2]
 * Windows and a head_dim of its own are read, as transformers 5 writes them, but not written: transformers 4 passes
 * over layer_types and computes something else, and it knows no head_dim here. */
#include "formats/dialects/dialect.h"

static const cot_dialect_tensor tensors[] = {
    COT_DIALECT_DECODER, COT_DIALECT_QKV_BIAS, COT_DIALECT_DENSE, COT_DIALECT_EXPERTS, COT_DIALECT_SHARED,
    COT_DIALECT_END,
};
static const cot_dialect_tensor joined[] = {COT_DIALECT_JOINED, COT_DIALECT_END};

static const cot_dialect_key keys[] = {
    COT_KEYS_DECODER(151936, 2048, 24, 16, 16, 32768, 1e-6),
    COT_KEY("intermediate_size", INT, intermediate_size, 5632),
    COT_KEY("num_experts", OPTIONAL, num_experts, 60),
    COT_KEY("num_experts_per_tok", INT, top_k, 4),
    COT_KEY("moe_intermediate_size", INT, moe_intermediate_size, 1408),
    COT_KEY("shared_expert_intermediate_size", INT, shared_intermediate_size, 5632),
    COT_KEY("shared_expert_gate", IMPLIED, shared_gate, 1),
    COT_KEY("norm_topk_prob", BOOL, norm_topk_prob, 0),
    COT_KEY("mlp_only_layers", LAYERS, dense, 0),
    COT_KEY("decoder_sparse_step", STEP, dense, 1),
    COT_KEY("qkv_bias", BOOL, qkv_bias, 1),
    COT_KEY("sliding_window", OPTIONAL, sliding_window, 4096),
    COT_KEY("use_sliding_window", USED, sliding_window, 0),
    COT_KEY("layer_types", LAYER_TYPES, full_attention, 0),
    COT_KEY("router_aux_loss_coef", REAL, router_aux_loss_coef, 0.001),
    {.key = NULL},
};

const cot_dialect cot_dialect_qwen2_moe = {
    .model_type = "qwen2_moe",
    .architecture = "Qwen2MoeForCausalLM",
    .source = "yang2024qwen2",
    .must = COT_TRAIT_EXPERTS | COT_TRAIT_SHARED,
    .may = COT_TRAIT_DENSE_BETWEEN | COT_TRAIT_UNIT_GATES | COT_TRAIT_RAW_GATES | COT_TRAIT_QKV_BIAS |
           COT_TRAIT_SCALED_ROPE,
    .tensors = tensors,
    .joined = joined,
    .keys = keys,
    .ignored = cot_dialect_ignored,
    .rope_theta = 10000,
};
