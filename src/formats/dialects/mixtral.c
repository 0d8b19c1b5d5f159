/* Mixtral: every layer has SwiGLU experts and a top-k router whose gates sum to 1.   [jiang2024mixtral]
 * In its names w1 is the gate, w3 the up and w2 the down projection. */
#include "formats/dialects/dialect.h"

static const cot_dialect_tensor tensors[] = {
    COT_DIALECT_DECODER,
    {"layers.{i}.ffn.router.weight", "model.layers.{i}.block_sparse_moe.gate.weight", COT_PART_WHOLE},
    {"layers.{i}.ffn.experts.gate_up", "model.layers.{i}.block_sparse_moe.experts.{e}.w1.weight", COT_PART_GATE},
    {"layers.{i}.ffn.experts.gate_up", "model.layers.{i}.block_sparse_moe.experts.{e}.w3.weight", COT_PART_UP},
    {"layers.{i}.ffn.experts.down", "model.layers.{i}.block_sparse_moe.experts.{e}.w2.weight", COT_PART_WHOLE},
    COT_DIALECT_END,
};
static const cot_dialect_tensor joined[] = {COT_DIALECT_JOINED, COT_DIALECT_END};

static const cot_dialect_key keys[] = {
    COT_KEYS_DECODER(32000, 4096, 32, 32, 8, 131072, 1e-5),
    COT_KEY("intermediate_size", INT, moe_intermediate_size, 14336),
    COT_KEY("num_local_experts", INT, num_experts, 8),
    COT_KEY("num_experts_per_tok", INT, top_k, 2),
    COT_KEY("norm_topk_prob", IMPLIED, norm_topk_prob, 1),
    COT_KEY("sliding_window", OPTIONAL, sliding_window, 0),
    COT_KEY("router_aux_loss_coef", REAL, router_aux_loss_coef, 0.001),
    {.key = NULL},
};

const cot_dialect cot_dialect_mixtral = {
    .model_type = "mixtral",
    .architecture = "MixtralForCausalLM",
    .source = "jiang2024mixtral",
    .must = COT_TRAIT_EXPERTS,
    .may = COT_TRAIT_UNIT_GATES | COT_TRAIT_WINDOW | COT_TRAIT_HEAD_DIM | COT_TRAIT_SCALED_ROPE,
    .tensors = tensors,
    .joined = joined,
    .keys = keys,
    .ignored = cot_dialect_ignored,
    .rope_theta = 1e6,
};
