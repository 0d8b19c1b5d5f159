"""Small models of published families with every option that Coterie reads, made by transformers.

    CASES     name -> (family, what differs from the family's plain small model)
    build()   the model of a case, every parameter random, biases and norms too
    old_style()   rewrites a config.json as transformers 4 wrote it
"""
import json

import torch
import transformers

VOCAB, POSITIONS = 97, 64
ROPE = {
    "linear": dict(rope_type="linear", factor=3.0),
    "dynamic": dict(rope_type="dynamic", factor=2.0),  # beyond POSITIONS tokens
    "yarn": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16),
    "llama3": dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=32),
}
SHAPE = dict(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=POSITIONS, bos_token_id=None, eos_token_id=2, pad_token_id=None)
EXPERTS = dict(num_experts=6, num_experts_per_tok=2)
FAMILIES = {
    "llama": (transformers.LlamaConfig, dict(intermediate_size=48)),
    "mixtral": (transformers.MixtralConfig, dict(intermediate_size=40, num_local_experts=6, num_experts_per_tok=2)),
    "qwen2_moe": (transformers.Qwen2MoeConfig, dict(intermediate_size=48, moe_intermediate_size=24,
                                                    shared_expert_intermediate_size=40, **EXPERTS)),
    "qwen3_moe": (transformers.Qwen3MoeConfig, dict(intermediate_size=48, moe_intermediate_size=24, head_dim=16,
                                                    **EXPERTS)),
    "olmoe": (transformers.OlmoeConfig, dict(intermediate_size=24, **EXPERTS)),
}
OPTIONS = {
    "llama": {
        "one key head": dict(num_key_value_heads=1),
        "head_dim, biases": dict(head_dim=12, attention_bias=True, mlp_bias=True),
        "tied": dict(tie_word_embeddings=True),
        "yarn by mscale": dict(rope_parameters=dict(ROPE["yarn"], mscale=0.7, mscale_all_dim=1.2, beta_fast=8.0,
                                                    beta_slow=0.5, rope_theta=500.0)),
        "yarn, borders between pairs, attention_factor": dict(
            rope_parameters=dict(ROPE["yarn"], truncate=False, attention_factor=1.3, rope_theta=10000.0)),
    },
    "mixtral": {
        "window": dict(sliding_window=7),
        "head_dim, tied": dict(head_dim=16, tie_word_embeddings=True),
        "as many key heads": dict(num_key_value_heads=4, num_experts_per_tok=3),
    },
    "qwen2_moe": {
        "no biases, gates to 1": dict(qkv_bias=False, norm_topk_prob=True),
        "dense layers by list": dict(mlp_only_layers=[0, 1]),
        "dense layers by step": dict(decoder_sparse_step=2),
        "window in some layers, tied": dict(use_sliding_window=True, sliding_window=5, tie_word_embeddings=True),
        "head_dim": dict(head_dim=12),
        "dense only": dict(num_experts=0),
    },
    "qwen3_moe": {
        "gates to 1, biases": dict(norm_topk_prob=True, attention_bias=True),
        "dense layers by step, tied": dict(decoder_sparse_step=2, tie_word_embeddings=True),
        "window": dict(use_sliding_window=True, sliding_window=9),
        "head_dim of the width": dict(head_dim=8),
    },
    "olmoe": {
        "gates to 1": dict(norm_topk_prob=True),
        "biases, tied": dict(attention_bias=True, tie_word_embeddings=True),
        "as many key heads": dict(num_key_value_heads=4),
    },
}
CASES = {}
for family, options in OPTIONS.items():
    CASES[family] = (family, {})
    CASES.update((f"{family}, {name}", (family, changes)) for name, changes in options.items())
    # transformers 5.24 cannot make a Mixtral with such positions unless head_dim is said.
    heads = dict(head_dim=8) if family == "mixtral" else {}
    CASES.update((f"{family}, {name} positions", (family, dict(heads, rope_parameters=dict(scaling, rope_theta=10000.0))))
                 for name, scaling in ROPE.items())


def build(family, changes, seed=0, **shape):
    torch.manual_seed(seed)
    make, own = FAMILIES[family]
    model = transformers.AutoModelForCausalLM.from_config(make(**{**SHAPE, **own, **shape, **changes}))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * 0.2 + ("norm" in name))
    return model.eval()


def old_style(path):
    """transformers 4's words in a config.json of transformers 5."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else dict(rope, type=rope.pop("rope_type"))
    config["torch_dtype"] = config.pop("dtype")
    if config["model_type"] == "qwen3_moe":
        config["num_experts"] = config.pop("num_local_experts")
    config["transformers_version"] = "4.51.0"
    path.write_text(json.dumps(config, indent=2))
