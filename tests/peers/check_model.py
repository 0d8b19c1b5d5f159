"""Whole models against transformers: gradients of every parameter, ten training steps, logits of a saved folder.

    check_model.py DUMP_MODEL COTERIE

For a dense (Llama) and sparse models of every family that Coterie writes: dump_model writes the start and the gradients under published names; the same folder is loaded by
transformers in f64 and f32, which computes loss, gradients and AdamW steps on its own.

Tolerances. f64: our files store f32, so the start is exact in both (the initialisation is rounded to f32 when stored and both read that) only up
to 2^-24 relative in each weight; gradients agree to about 1e-5 of their largest element. f32: sums of a few hundred products, 1e-4 of the
largest. The loss curve: 1e-4 absolute a step in f32. Logits: 1e-4.
"""
import json, pathlib, subprocess, sys, tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from peers_table import record

VOCAB, CONTEXT, ROWS = 97, 24, 12
LR, BETAS, EPS, DECAY = 3e-3, (0.9, 0.95), 1e-8, 0.1

MODELS = {
    "dense, tied, grouped heads": """
  hidden_size: 48
  num_layers: 3
  init_std: 0.1
  mixer: {kind: attention, num_heads: 4, num_kv_heads: 2}
  ffn: {kind: dense, intermediate_size: 80}""",
    "sparse, top-2 of 4, tied": """
  hidden_size: 48
  num_layers: 3
  init_std: 0.1
  mixer: {kind: attention, num_heads: 4, num_kv_heads: 2}
  ffn: {kind: sparse, router: {kind: top_k, top_k: 2}, experts: {kind: ffn, num_experts: 4, intermediate_size: 40}}""",
    "sparse, top-3 of 8, own output matrix": """
  hidden_size: 32
  num_layers: 2
  init_std: 0.15
  tie_word_embeddings: false
  mixer: {kind: attention, num_heads: 2}
  ffn: {kind: sparse, router: {kind: top_k, top_k: 3}, experts: {kind: ffn, num_experts: 8, intermediate_size: 24}}""",
    "Llama with biases everywhere, linear positions": """
  hidden_size: 32
  num_layers: 2
  init_std: 0.15
  mixer: {kind: attention, num_heads: 4, head_dim: 12, bias: true, out_bias: true, rope_scaling: {rope_type: linear, factor: 4}}
  ffn: {kind: dense, intermediate_size: 40, bias: true}""",
    "Qwen2-MoE: shared expert with a gate, biases, dense layers between": """
  hidden_size: 32
  num_layers: 3
  init_std: 0.15
  mixer: {kind: attention, num_heads: 4, num_kv_heads: 2, bias: true}
  ffn: {kind: dense, intermediate_size: 40}
  layers:
    - at: 1::2
      ffn:
        kind: sparse
        router: {kind: top_k, top_k: 2, norm_topk_prob: false}
        experts: {kind: ffn, num_experts: 6, intermediate_size: 24}
        shared: {intermediate_size: 28, gate: sigmoid}""",
    "Qwen3-MoE: norms of q and k for each head, sliding window": """
  hidden_size: 32
  num_layers: 2
  init_std: 0.15
  mixer: {kind: attention, num_heads: 4, num_kv_heads: 2, head_dim: 12, qk_norm: true, sliding_window: 9}
  ffn: {kind: sparse, router: {kind: top_k, top_k: 2}, experts: {kind: ffn, num_experts: 6, intermediate_size: 24}}""",
    "OLMoE: norms of q and k over the vector, yarn": """
  hidden_size: 32
  num_layers: 2
  init_std: 0.15
  tie_word_embeddings: false
  mixer:
    kind: attention
    num_heads: 4
    num_kv_heads: 2
    qk_norm: true
    qk_norm_over: vector
    rope_scaling: {rope_type: yarn, factor: 4, original_max_position_embeddings: 16}
  ffn:
    kind: sparse
    router: {kind: top_k, top_k: 2, norm_topk_prob: false}
    experts: {kind: ffn, num_experts: 6, intermediate_size: 24}""",
}
TYPES = ["llama", "mixtral", "mixtral", "llama", "qwen2_moe", "qwen3_moe", "olmoe"]

failures = 0


def check(what, error, limit):
    global failures
    good = error <= limit
    failures += not good
    print(f"  {'ok  ' if good else 'FAIL'} {what}: {error:.2e} (limit {limit:.0e})")


def unfused(name, tensor, family):
    """transformers 5 joins experts; give back the published single ones."""
    mixtral = family == "mixtral"
    block, parts = ("block_sparse_moe", ("w1", "w3", "w2")) if mixtral else ("mlp", ("gate_proj", "up_proj", "down_proj"))
    base = name.replace(".mlp.", f".{block}.") if mixtral else name
    if base.endswith("experts.gate_up_proj"):
        for e, matrix in enumerate(tensor):
            for part, half in zip(parts, matrix.chunk(2)):
                yield f"{base.removesuffix('gate_up_proj')}{e}.{part}.weight", half
    elif base.endswith("experts.down_proj"):
        for e, matrix in enumerate(tensor):
            yield f"{base.removesuffix('down_proj')}{e}.{parts[2]}.weight", matrix
    else:
        yield base, tensor


def loss_of(model, rows):
    ids, target = rows[:, :-1], rows[:, 1:]
    logits = model(input_ids=ids).logits
    return torch.nn.functional.cross_entropy(logits.reshape(-1, VOCAB), target.reshape(-1))


def compare(name, text, family, dump, coterie, folder):
    print(name)
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"model:\n  kind: lm{text}\ndata: {{kind: random, vocab_size: {VOCAB}, context: {CONTEXT}}}\n"
                      f"train: {{steps: 10, optimizer: {{kind: adamw, lr: {LR}, beta1: {BETAS[0]}, beta2: {BETAS[1]}, eps: {EPS}, weight_decay: {DECAY}}}}}\n")
    torch.manual_seed(3)
    ids = torch.randint(VOCAB, (ROWS, CONTEXT + 1))
    (folder / "ids.json").write_text(json.dumps(ids.flatten().tolist()))
    for kind, dtype, gradient_limit, curve_limit in (("f64", torch.float64, 2e-5, 2e-5), ("f32", torch.float32, 1e-4, 1e-4)):
        out = folder / kind
        said = json.loads(subprocess.run([dump, recipe, folder / "ids.json", out, kind], check=True, capture_output=True, text=True).stdout)
        model = AutoModelForCausalLM.from_pretrained(out / "start", dtype=dtype, experts_implementation="eager")
        assert model.config.model_type == family, model.config.model_type
        model.train()
        loss = loss_of(model, ids)
        loss.backward()
        check(f"{kind} loss", abs(loss.item() - said["loss"]), 1e-5)
        ours, seen, worst = load_file(out / "gradient" / "model.safetensors"), set(), 0.0
        for raw, parameter in model.named_parameters():
            for published, gradient in unfused(raw, parameter.grad, family):
                mine = ours[published].double()
                worst = max(worst, ((mine - gradient.double()).abs().max() / gradient.abs().max().clamp_min(1e-12)).item())
                seen.add(published)
        assert seen == set(ours), seen ^ set(ours)
        record("transformers", f"gradients of whole models, {kind}, relative to the largest of a tensor", worst, gradient_limit)
        check(f"{kind} gradients of all {len(seen)} tensors, worst relative to the largest of its tensor", worst, gradient_limit)
        groups = [{"params": [p for n, p in model.named_parameters() if p.ndim > 1], "weight_decay": DECAY},
                  {"params": [p for n, p in model.named_parameters() if p.ndim == 1], "weight_decay": 0.0}]
        optimizer, worst = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS), 0.0
        for step in range(10):
            optimizer.zero_grad()
            loss = loss_of(model, ids[step : step + 1])
            loss.backward()
            optimizer.step()
            worst = max(worst, abs(loss.item() - said["curve"][step]))
        record("transformers", f"loss of ten AdamW steps, {kind}", worst, curve_limit, "nats")
        check(f"{kind} loss of ten AdamW steps ({said['curve'][0]:.4f} to {said['curve'][-1]:.4f}), worst difference", worst, curve_limit)
    logits = folder / "logits.safetensors"
    tokens = folder / "tokens.json"
    tokens.write_text(json.dumps(ids[0].tolist()))
    subprocess.run([coterie, "eval", folder / "f32" / "start", "--tokens", tokens, "--logits", logits], check=True)
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(folder / "f32" / "start", dtype=torch.float32, experts_implementation="eager")(input_ids=ids[:1]).logits[0]
    difference = (load_file(logits)["logits"] - theirs).abs().max().item()
    record("transformers", "logits of folders, f32", difference, 1e-4)
    check("logits of `coterie eval --tokens`", difference, 1e-4)


def main():
    dump, coterie = sys.argv[1], sys.argv[2]
    for (name, text), family in zip(MODELS.items(), TYPES, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            compare(name, text, family, dump, coterie, pathlib.Path(folder))
    print("all agree" if not failures else f"{failures} checks failed")
    sys.exit(1 if failures else 0)


main()
