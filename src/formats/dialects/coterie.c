/* Our own family, for models that no published one has a place for: published names where they exist (those of Llama
 * and Qwen2-MoE), names of the same kind for what has none, and internal names for the rest. The keys repeat what
 * other programs may want to know; the model itself is described under "coterie". */
#include "formats/dialects/dialect.h"

static const cot_dialect_tensor tensors[] = {
    COT_DIALECT_DECODER,
    COT_DIALECT_DENSE,
    {"layers.{i}.mixer.qkv.bias", "model.layers.{i}.self_attn.q_proj.bias", COT_PART_Q},
    {"layers.{i}.mixer.qkv.bias", "model.layers.{i}.self_attn.k_proj.bias", COT_PART_K},
    {"layers.{i}.mixer.qkv.bias", "model.layers.{i}.self_attn.v_proj.bias", COT_PART_V},
    {"layers.{i}.mixer.q_norm.weight", "model.layers.{i}.self_attn.q_norm.weight", COT_PART_WHOLE},
    {"layers.{i}.mixer.k_norm.weight", "model.layers.{i}.self_attn.k_norm.weight", COT_PART_WHOLE},
    {"layers.{i}.ffn.router.weight", "model.layers.{i}.mlp.gate.weight", COT_PART_WHOLE},
    {"layers.{i}.ffn.router.noise_weight", "model.layers.{i}.mlp.gate.noise_weight", COT_PART_WHOLE},
    {"layers.{i}.ffn.experts.gate_up", "model.layers.{i}.mlp.experts.{e}.gate_proj.weight", COT_PART_GATE},
    {"layers.{i}.ffn.experts.gate_up", "model.layers.{i}.mlp.experts.{e}.up_proj.weight", COT_PART_UP},
    {"layers.{i}.ffn.experts.down", "model.layers.{i}.mlp.experts.{e}.down_proj.weight", COT_PART_WHOLE},
    {"layers.{i}.ffn.shared.gate_up.weight", "model.layers.{i}.mlp.shared_expert.gate_proj.weight", COT_PART_GATE},
    {"layers.{i}.ffn.shared.gate_up.weight", "model.layers.{i}.mlp.shared_expert.up_proj.weight", COT_PART_UP},
    {"layers.{i}.ffn.shared.down.weight", "model.layers.{i}.mlp.shared_expert.down_proj.weight", COT_PART_WHOLE},
    {"layers.{i}.ffn.shared.gate.weight", "model.layers.{i}.mlp.shared_expert_gate.weight", COT_PART_WHOLE},
    {NULL, NULL, COT_PART_WHOLE},
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
    COT_KEY("shared_expert_intermediate_size", OPTIONAL, shared_intermediate_size, 0),
    COT_KEY("norm_topk_prob", BOOL, norm_topk_prob, 0),
    COT_KEY("max_position_embeddings", INT, max_position, 0),
    COT_KEY("sliding_window", OPTIONAL, sliding_window, 0),
    COT_KEY("attention_bias", BOOL, attention_bias, 0),
    COT_KEY("use_qk_norm", BOOL, qk_norm, 0),
    COT_KEY("initializer_range", REAL, initializer_range, 0.02),
    COT_KEY("rms_norm_eps", REAL, rms_norm_eps, 1e-5),
    COT_KEY("router_aux_loss_coef", REAL, router_aux_loss_coef, 0),
    COT_KEY("tie_word_embeddings", BOOL, tie_word_embeddings, 0),
    {.key = NULL},
};

static const char *const ignored[] = {NULL};

static const char *misfit(const cot_model_card *card)
{
    (void)card;
    return NULL;
}

const cot_dialect cot_dialect_coterie = {
    .model_type = "coterie",
    .architecture = "CoterieForCausalLM",
    .tensors = tensors,
    .keys = keys,
    .ignored = ignored,
    .rope_theta = 10000,
    .keeps_unknown = true,
    .misfit = misfit,
};
