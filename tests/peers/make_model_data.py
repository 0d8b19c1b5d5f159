"""Writes tests/data/models: a tiny folder of each family with the logits that transformers computes from it.

    make_model_data.py FOLDER

Each folder holds config.json, model.safetensors (or shards with an index) and expected.safetensors: `ids` [tokens] and
`logits` [tokens, vocabulary] in f32. Together they have every option that Coterie reads, in f32, bf16 and f16.
"""
import pathlib, shutil, sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, logging

from published_models import ROPE, build, old_style

logging.set_verbosity_error()
SHAPE = dict(vocab_size=16, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=32)
EXPERTS = dict(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=6, intermediate_size=10)
BASE = dict(rope_theta=1000.0)
# family, options, type of the weights, files (bytes of one at most), transformers 4's spelling
MODELS = {
    "llama": ("llama", dict(intermediate_size=12, head_dim=6, attention_bias=True, mlp_bias=True, rope_parameters=dict(
        ROPE["llama3"], original_max_position_embeddings=16, **BASE)), torch.float32, None, False),
    "llama-dynamic": ("llama", dict(intermediate_size=12, tie_word_embeddings=True, num_key_value_heads=1,
                                    max_position_embeddings=9, rope_parameters=dict(ROPE["dynamic"], **BASE)),
                      torch.bfloat16, None, True),
    "mixtral": ("mixtral", dict(intermediate_size=6, num_local_experts=3, sliding_window=4, head_dim=4,
                                rope_parameters=dict(ROPE["linear"], **BASE)), torch.bfloat16, "6KB", False),
    "mixtral-joined": ("mixtral", dict(intermediate_size=6, num_local_experts=3, tie_word_embeddings=True), torch.float16,
                       "joined", False),
    "qwen2_moe": ("qwen2_moe", dict(shared_expert_intermediate_size=8, mlp_only_layers=[0], use_sliding_window=True,
                                    sliding_window=5, **EXPERTS), torch.bfloat16, None, False),
    "qwen3_moe": ("qwen3_moe", dict(head_dim=6, norm_topk_prob=True, decoder_sparse_step=2, attention_bias=True, **EXPERTS),
                  torch.float16, None, True),
    "olmoe": ("olmoe", dict(intermediate_size=6, num_experts=3, num_experts_per_tok=2, rope_parameters=dict(
        ROPE["yarn"], original_max_position_embeddings=8, **BASE)), torch.bfloat16, None, False),
}


def main():
    root = pathlib.Path(sys.argv[1])
    shutil.rmtree(root, ignore_errors=True)
    for name, (family, options, dtype, files, older) in MODELS.items():
        folder = root / name
        model = build(family, options, seed=len(name), **SHAPE).to(dtype)
        kind = dict(save_original_format=False) if files == "joined" else dict(max_shard_size=files) if files else {}
        model.save_pretrained(folder, **kind)
        (folder / "generation_config.json").unlink()
        torch.manual_seed(1)
        ids = torch.randint(SHAPE["vocab_size"], (1, 12))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, experts_implementation="eager")
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        save_file({"ids": ids[0].int(), "logits": logits.contiguous()}, folder / "expected.safetensors")
        if older:
            old_style(folder / "config.json")
        print(name, sum(f.stat().st_size for f in folder.iterdir()), "bytes in", len(list(folder.iterdir())), "files")


main()
