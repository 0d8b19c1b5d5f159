/* Qwen3-MoE: experts without a shared one, norms of q and k for each head.   [yang2025qwen3]
 * transformers 4 knows num_experts, transformers 5 reads that too but writes num_local_experts. */
#include "formats/dialects/dialect.h"

static const cot_dialect_tensor tensors[] = {
    COT_DIALECT_DECODER, COT_DIALECT_QKV_BIAS, COT_DIALECT_OUTPUT_BIAS, COT_DIALECT_QK_NORMS, COT_DIALECT_DENSE,
    COT_DIALECT_EXPERTS, COT_DIALECT_END,
};
static const cot_dialect_tensor joined[] = {COT_DIALECT_JOINED, COT_DIALECT_END};

static const cot_dialect_key keys[] = {
    COT_KEYS_DECODER(151936, 2048, 24, 32, 4, 32768, 1e-6),
    COT_KEY("intermediate_size", INT, intermediate_size, 6144),
    COT_KEY_ALSO("num_experts", "num_local_experts", OPTIONAL, num_experts, 128),
    COT_KEY("num_experts_per_tok", INT, top_k, 8),
    COT_KEY("moe_intermediate_size", INT, moe_intermediate_size, 768),
    COT_KEY("norm_topk_prob", BOOL, norm_topk_prob, 0),
    COT_KEY("mlp_only_layers", LAYERS, dense, 0),
    COT_KEY("decoder_sparse_step", STEP, dense, 1),
    COT_KEY("attention_bias", BOOL, qkv_bias, 0),
    COT_KEY("attention_bias", BOOL, output_bias, 0),
    COT_KEY("qk_norm", IMPLIED, head_norms, 1),
    COT_KEY("sliding_window", OPTIONAL, sliding_window, 4096),
    COT_KEY("use_sliding_window", USED, sliding_window, 0),
    COT_KEY("router_aux_loss_coef", REAL, router_aux_loss_coef, 0.001),
    {.key = NULL},
};

const cot_dialect cot_dialect_qwen3_moe = {
    .model_type = "qwen3_moe",
    .architecture = "Qwen3MoeForCausalLM",
    .source = "yang2025qwen3",
    .must = COT_TRAIT_EXPERTS | COT_TRAIT_HEAD_NORMS,
    .may = COT_TRAIT_DENSE_BETWEEN | COT_TRAIT_UNIT_GATES | COT_TRAIT_RAW_GATES | COT_TRAIT_ALL_BIASES |
           COT_TRAIT_WINDOW | COT_TRAIT_HEAD_DIM | COT_TRAIT_SCALED_ROPE,
    .tensors = tensors,
    .joined = joined,
    .keys = keys,
    .ignored = cot_dialect_ignored,
    .rope_theta = 10000,
};
