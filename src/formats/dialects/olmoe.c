/* OLMoE: experts in every layer, gates as they are, norms of q and k over the vector.   [muennighoff2024olmoe] */
#include "formats/dialects/dialect.h"

static const cot_dialect_tensor tensors[] = {
    COT_DIALECT_DECODER, COT_DIALECT_QKV_BIAS, COT_DIALECT_OUTPUT_BIAS, COT_DIALECT_QK_NORMS, COT_DIALECT_EXPERTS,
    COT_DIALECT_END,
};
static const cot_dialect_tensor joined[] = {COT_DIALECT_JOINED, COT_DIALECT_END};

static const cot_dialect_key keys[] = {
    COT_KEYS_DECODER(50304, 2048, 16, 16, 0, 4096, 1e-5),
    COT_KEY("intermediate_size", INT, moe_intermediate_size, 2048),
    COT_KEY_ALSO("num_experts", "num_local_experts", INT, num_experts, 64),
    COT_KEY("num_experts_per_tok", INT, top_k, 8),
    COT_KEY("norm_topk_prob", BOOL, norm_topk_prob, 0),
    COT_KEY("attention_bias", BOOL, qkv_bias, 0),
    COT_KEY("attention_bias", BOOL, output_bias, 0),
    COT_KEY("qk_norm", IMPLIED, vector_norms, 1),
    COT_KEY_MUST_BE("clip_qkv", "null"),
    COT_KEY("router_aux_loss_coef", REAL, router_aux_loss_coef, 0.01),
    {.key = NULL},
};

const cot_dialect cot_dialect_olmoe = {
    .model_type = "olmoe",
    .architecture = "OlmoeForCausalLM",
    .source = "muennighoff2024olmoe",
    .must = COT_TRAIT_EXPERTS | COT_TRAIT_VECTOR_NORMS,
    .may = COT_TRAIT_UNIT_GATES | COT_TRAIT_RAW_GATES | COT_TRAIT_ALL_BIASES | COT_TRAIT_SCALED_ROPE,
    .tensors = tensors,
    .joined = joined,
    .keys = keys,
    .ignored = cot_dialect_ignored,
    .rope_theta = 10000,
};
