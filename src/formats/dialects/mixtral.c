/* Mixtral: every layer has SwiGLU experts and a top-k router whose gates sum to 1.   [jiang2024mixtral]
 * In its names w1 is the gate, w3 the up and w2 the down projection. */
#include "formats/dialects/dialect.h"

static const cot_dialect_tensor tensors[] = {
    COT_DIALECT_DECODER,
    {"layers.{i}.ffn.router.weight", "model.layers.{i}.block_sparse_moe.gate.weight", COT_PART_WHOLE},
    {"layers.{i}.ffn.experts.gate_up", "model.layers.{i}.block_sparse_moe.experts.{e}.w1.weight", COT_PART_GATE},
    {"layers.{i}.ffn.experts.gate_up", "model.layers.{i}.block_sparse_moe.experts.{e}.w3.weight", COT_PART_UP},
    {"layers.{i}.ffn.experts.down", "model.layers.{i}.block_sparse_moe.experts.{e}.w2.weight", COT_PART_WHOLE},
    {NULL, NULL, COT_PART_WHOLE},
};

static const cot_dialect_key keys[] = {
    COT_KEY("vocab_size", INT, vocab_size, 32000),
    COT_KEY("hidden_size", INT, hidden_size, 4096),
    COT_KEY("intermediate_size", INT, moe_intermediate_size, 14336),
    COT_KEY("num_hidden_layers", INT, num_layers, 32),
    COT_KEY("num_attention_heads", INT, num_heads, 32),
    COT_KEY("num_key_value_heads", OPTIONAL, num_kv_heads, 8),
    COT_KEY("head_dim", OPTIONAL, head_dim, 0),
    COT_KEY("num_local_experts", INT, num_experts, 8),
    COT_KEY("num_experts_per_tok", INT, top_k, 2),
    COT_KEY("max_position_embeddings", INT, max_position, 131072),
    COT_KEY("sliding_window", OPTIONAL, sliding_window, 0),
    COT_KEY("initializer_range", REAL, initializer_range, 0.02),
    COT_KEY("rms_norm_eps", REAL, rms_norm_eps, 1e-5),
    COT_KEY("router_aux_loss_coef", REAL, router_aux_loss_coef, 0.001),
    COT_KEY("tie_word_embeddings", BOOL, tie_word_embeddings, 0),
    COT_KEY("norm_topk_prob", IMPLIED, norm_topk_prob, 1),
    {.key = NULL},
};

static const char *const ignored[] = {"lm_head.weight", "model.layers.{i}.self_attn.rotary_emb.inv_freq", NULL};

static const char *misfit(const cot_model_card *card)
{
    if (card->num_experts == 0) return "no experts";
    if (card->dense_layers > 0) return "dense layers between sparse ones";
    if (!card->norm_topk_prob) return "gates that are not made to sum to 1";
    if (card->shared_intermediate_size > 0) return "a shared expert";
    if (card->attention_bias) return "biases on q, k and v";
    if (card->qk_norm) return "norms of q and k";
    if (card->rope_theta <= 0) return "no rotary positions";
    return card->beyond;
}

const cot_dialect cot_dialect_mixtral = {
    .model_type = "mixtral",
    .architecture = "MixtralForCausalLM",
    .tensors = tensors,
    .keys = keys,
    .ignored = ignored,
    .rope_theta = 1e6,
    .misfit = misfit,
};
