"""Whole models against an independent implementation in PyTorch (torch_model.py), and folders against transformers.

  gradients  one pass of every model in models.yaml: the loss and the gradient of every parameter
  curve      ten steps of AdamW through the trainer (clipping, decay, accumulation, restarting documents): their losses
  folders    the folder of a run loads in transformers, and transformers' in ours, with the same logits and token ids

Error of a tensor: largest difference over the largest value. The other side computes in f64, so our rounding is seen.
Tolerances:
  f64 gradients, 1e-9: eps is 1.1e-16; sums of some hundred products and some tens of operations in a row lose 3 to 4
      digits, cancellation in norms and softmaxes 1 or 2. An eps of 1.01e-5 for 1e-5 in the norms shows as 3e-7.
  f32 gradients, 1e-4: the same count from eps 6e-8.
  bf16 gradients, 5e-2: eps is 3.9e-3 for what enters and leaves products; some tens of such roundings add up like a
      random walk. Dense models only: with experts the rounding of a token may change who is chosen.
  f32 loss of ten steps, 1e-4 nats: a loss of 6 carries 4e-7 of rounding. AdamW divides by the root of the second
      moment, so a parameter whose gradient is hardly larger than its error (1e-5 of the largest) moves by a wrong share
      of lr. These few change the loss by about their number times lr times such a gradient: far less than 1e-4.
  f32 logits, 1e-4: a logit of size 10 is a sum of products that carries 1e-6 after each of some layers, on both sides.
"""
import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
import yaml
from safetensors.torch import load_file, save_file

from peers_table import record
from torch_model import Model

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
failures = 0


def report(fine, text):
    global failures
    failures += not fine
    print(f"  {'ok  ' if fine else 'FAIL'} {text}", flush=True)


def run(*command, kernels=None, text=None):
    environment = dict(os.environ, OMP_WAIT_POLICY="passive") | ({"COTERIE_CPU": kernels} if kernels else {})
    done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True, input=text)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def write_yaml(path, content):
    path.write_text(json.dumps(content))  # JSON is YAML
    return path


def error(got, want):
    """Largest difference over the largest value; a gradient that must be zero counts as it is."""
    largest = want.abs().max().item()
    difference = (got - want).abs().max().item()
    share = difference / largest if largest > 0 else difference
    return share if math.isfinite(share) else math.inf


# ---- gradients ----

VOCABULARY, RESTARTS, TOKENS = 29, (0, 13, 14, 30), 48


def random_parameters(shapes, seed):
    """Everything away from its start: norms around 1, biases, routers that decide clearly."""
    draw = torch.Generator().manual_seed(seed)
    out = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=draw, dtype=torch.float64)
        if "norm" in name:
            value = 1 + 0.2 * value
        elif len(shape) > 1:
            value *= (1.0 if name == "embed.weight" else shape[-1] ** -0.5) * (2 if ".router.weight" in name else 1)
        else:
            value *= 0.3
        out[name] = value.float().double()  # what f32 can hold, so that both start from the same
    return out


def random_batch(seed):
    """Documents that restart; the last token of each has no target, as in training."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCABULARY, (TOKENS,), generator=draw)
    first = torch.tensor([max(r for r in RESTARTS if r <= t) for t in range(TOKENS)])
    targets = ids.roll(-1)
    targets[[r - 1 for r in RESTARTS[1:]] + [TOKENS - 1]] = -1
    return ids, targets, first


def reference_gradients(case, p, batch, noise):
    model = Model(case["model"], VOCABULARY)
    p = {name: value.clone().requires_grad_() for name, value in p.items()}
    nll, balance = model.loss(p, *batch, training=case.get("pass", "train") == "train", noise=noise)
    loss = nll.sum() / (batch[1] >= 0).sum() + sum(balance)
    grads = torch.autograd.grad(loss, list(p.values()), allow_unused=True)
    grads = {name: torch.zeros_like(v) if g is None else g for (name, v), g in zip(p.items(), grads)}
    return loss.detach(), nll.detach(), [b.detach() for b in balance], grads, model.smallest_gap


def check_pass(case, p, batch, work, dump, dtype, kernels, tolerance):
    mode = case.get("pass", "train")
    run(dump, "gradients", write_yaml(work / "recipe.yaml", {"model": case["model"]}), work / "in.safetensors",
        work / "out.safetensors", dtype, mode, "recompute" if case.get("recompute") else "keep", kernels=kernels)
    ours = load_file(work / "out.safetensors")
    noise = {int(name.split(".")[1]): value for name, value in ours.items() if name.startswith("noise.")}
    loss, nll, balance, grads, gap = reference_gradients(case, p, batch, noise)
    errors = {name: error(ours[f"gradient.{name}"], grad) for name, grad in grads.items()}
    errors["loss"] = error(ours["loss"], loss)
    errors["nll"] = error(ours["nll"], nll)
    if not case.get("recompute"):  # then a layer's rules come out as one sum, which the loss holds
        names = sorted((n for n in ours if n.startswith("balance.")), key=lambda n: int(n.rsplit(".", 1)[1]))
        assert len(names) == len(balance)
        errors |= {name: error(ours[name], value) for name, value in zip(names, balance)}
    extra = {n for n in ours if n.startswith("gradient.")} - {f"gradient.{n}" for n in grads}
    worst = max(errors, key=errors.get)
    clear = gap > 1e-5  # no choice of expert may hang on f32 rounding
    text = f"{dtype} {kernels or 'fastest':10s} {len(errors):3d} tensors, worst {errors[worst]:.1e} of {tolerance:.0e}"
    text += f", {worst}"
    text += "" if clear else f"; experts' logits only {gap:.0e} apart, choose another seed"
    text += f"; not expected: {extra}" if extra else ""
    record("torch", f"gradients and losses of every part, {dtype}, relative to the largest of a tensor", errors[worst], tolerance)
    report(errors[worst] <= tolerance and not extra and clear, text)


def check_gradients(arguments, work):
    for i, case in enumerate(yaml.safe_load((HERE / "models.yaml").read_text())):
        print(f"{case['name']}:")
        p, batch = random_parameters(Model(case["model"], VOCABULARY).shapes(), 100 + i), random_batch(200 + i)
        tokens = {name: t.int() for name, t in zip(("ids", "targets", "first"), batch)}
        save_file({n: v.contiguous() for n, v in p.items()} | tokens, work / "in.safetensors")
        check_pass(case, p, batch, work, arguments.dump, "f64", None, 1e-9)
        for kernels in None, "avx2", "ref":
            check_pass(case, p, batch, work, arguments.dump, "f32", kernels, 1e-4)
        if not any(".router." in name for name in p):
            check_pass(case, p, batch, work, arguments.dump, "bf16", None, 5e-2)


# ---- the first ten steps ----

DENSE = {"kind": "dense", "intermediate_size": 96}
SPARSE = {"kind": "sparse", "router": {"kind": "top_k", "top_k": 2},
          "experts": {"kind": "ffn", "num_experts": 8, "intermediate_size": 48},
          "balance": [{"kind": "aux", "coef": 0.01}, {"kind": "z_loss", "coef": 0.001}]}
ADAMW = {"kind": "adamw", "lr": 0.003, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}


def recipe(work, ffn, steps, **model):
    """A small model on paragraphs of the demo's drama, each a document, so that most rows restart somewhere."""
    corpus = work / "corpus.jsonl"
    if not corpus.exists():
        paragraphs = (ROOT / "data/demo/drama.txt").read_text()[:200000].split("\n\n")
        corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in paragraphs))
    return {
        "model": {"kind": "lm", "hidden_size": 48, "num_layers": 2, "ffn": ffn,
                  "mixer": {"kind": "attention", "num_heads": 4, "num_kv_heads": 2}} | model,
        "data": {"path": str(corpus), "cache_dir": str(work / "cache"), "context": 64,
                 "tokenizer": {"kind": "bpe", "vocab_size": 400}},
        "train": {"steps": steps, "batch": 8, "precision": "f32", "clip_grad_norm": 1.0, "seed": 5, "optimizer": ADAMW},
    }


def reference_curve(plan, ours):
    """The same steps by torch.optim: loss, balance loss and gradient norm of each."""
    model = Model(plan["model"], ours["initial.embed.weight"].shape[0])
    initial = {name.removeprefix("initial."): value for name, value in ours.items() if name.startswith("initial.")}
    p = {name: value.clone().requires_grad_() for name, value in initial.items()}
    assert {n: tuple(v.shape) for n, v in p.items()} == model.shapes()
    o, parts = plan["train"]["optimizer"], plan["train"].get("accumulation", 1)
    groups = [{"params": [v for v in p.values() if v.dim() > 1], "weight_decay": o["weight_decay"]},
              {"params": [v for v in p.values() if v.dim() == 1], "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"])
    curve = []
    for ids, targets, first in zip(ours["ids"].long(), ours["targets"].long(), ours["first"].long()):
        optimizer.zero_grad()
        tokens, scored, nll_sum, balance_sum = len(ids) // parts, (targets >= 0).sum(), 0.0, 0.0
        for part in (slice(i * tokens, (i + 1) * tokens) for i in range(parts)):
            nll, balance = model.loss(p, ids[part], targets[part], first[part] - part.start)
            nll, balance = nll.sum() / scored, sum(balance, torch.zeros(())) / parts
            (nll + balance).backward()
            nll_sum, balance_sum = nll_sum + nll.item(), balance_sum + balance.item()
        norm = torch.nn.utils.clip_grad_norm_(p.values(), plan["train"]["clip_grad_norm"])
        optimizer.step()
        curve.append((nll_sum, balance_sum, norm.item()))
    return torch.tensor(curve, dtype=torch.float64), p


def check_curve(arguments, work):
    cases = {"dense": (DENSE, {}), "sparse": (SPARSE, {}), "sparse, in two halves": (SPARSE, {"accumulation": 2})}
    for name, (ffn, train) in cases.items():
        plan = recipe(work, ffn, 10, init_std=0.08)
        plan["train"] |= train
        run(arguments.dump, "steps", write_yaml(work / "recipe.yaml", plan), work / "out.safetensors")
        ours = load_file(work / "out.safetensors")
        curve, p = reference_curve(plan, ours)
        restarts = (ours["first"][:, 1:] != ours["first"][:, :-1]).sum().item()
        clipped = (curve[:, 2] > plan["train"]["clip_grad_norm"]).sum().item()
        difference = (curve[:, :2] - torch.stack((ours["loss"], ours["balance_loss"]), 1)).abs().max().item()
        norm = error(ours["grad_norm"], curve[:, 2])
        moved = sum((v.detach() - ours[f"initial.{n}"]).square().sum() for n, v in p.items())
        apart = sum((v.detach() - ours[f"final.{n}"]).square().sum() for n, v in p.items())
        away = (apart / moved).sqrt().item()
        print(f"ten steps, {name}: loss {curve[0, 0]:.4f} to {curve[-1, 0]:.4f}, {clipped} of them clipped, "
              f"{restarts} documents begin")
        record("torch", "losses of ten training steps, f32", difference, 1e-4, "nats")
        report(difference <= 1e-4, f"losses: largest difference {difference:.1e} of 1e-04")
        report(restarts > 0 and clipped > 0, "the steps see documents that begin, and clipping")
        report(norm <= 1e-3, f"gradient norms: {norm:.1e} of 1e-03")
        report(away <= 1e-2, f"parameters: {away:.1e} of the way they went, of 1e-02 (root mean square)")


# ---- folders ----

TEXTS = ["ROMEO:\nBut, soft! what light through yonder window breaks?", "  two  spaces,\ttabs\n\n\nand lines  ",
         "¿Qué dijo Dios? 12345 naïve 日本語 🙂 it's we'LL", "int main(void)\n{\n\treturn x->y[3] != 0x1F;\n}\n"]


def compare_logits(arguments, work, folder, model, what):
    vocabulary = model.config.vocab_size
    ids = torch.randint(vocabulary, (60,), generator=torch.Generator().manual_seed(3))
    (work / "ids.json").write_text(json.dumps(ids.tolist()))
    run(arguments.coterie, "eval", folder, "--tokens", work / "ids.json", "--logits", work / "logits.safetensors")
    ours = load_file(work / "logits.safetensors")["logits"]
    with torch.no_grad():
        theirs = model(ids[None]).logits[0]
    difference = (ours - theirs).abs().max().item()
    size = theirs.abs().max().item()
    record("transformers", "logits of folders, f32", difference, 1e-4)
    report(difference <= 1e-4, f"{what}: logits of size {size:.1f}, largest difference {difference:.1e} of 1e-04")


def check_run_folder(arguments, work, name, expected, plan):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    folder = work / name.replace(" ", "-")
    run(arguments.coterie, "train", write_yaml(work / "recipe.yaml", plan), "--out", folder, "-q")
    model, loading = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    wrong = [f"{kind}: {sorted(keys)[:3]}" for kind, keys in loading.items() if keys]
    found = type(model).__name__
    report(found == expected and not wrong, "; ".join([f"{name}: loads as {found}"] + wrong))
    compare_logits(arguments, work, folder, model.eval(), name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        ours = json.loads(run(arguments.coterie, "tokenizer", "encode", folder, "--json", text=text))
        theirs = tokenizer(text)["input_ids"]
        same = ours == theirs and tokenizer.decode(ours) == text
        record("transformers", "token ids of a run's tokenizer: texts that differ", 0 if same else 1, 0)
        report(same, f"{name}: {len(ours):2d} token ids of {text[:20]!r} and back")


def check_foreign_folder(arguments, work, config):
    """A model that transformers made and saved, in ours."""
    from transformers import AutoModelForCausalLM
    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    folder = work / f"foreign-{config.model_type}"
    model.save_pretrained(folder)
    compare_logits(arguments, work, folder, model, f"saved by transformers, {config.model_type}")


def check_folders(arguments, work):
    from transformers import LlamaConfig, MixtralConfig
    print("folders, ours in transformers:")
    lively = {"init_std": 0.2}  # weights that matter after so few steps
    check_run_folder(arguments, work, "dense", "LlamaForCausalLM", recipe(work, DENSE, 12, **lively))
    untied = recipe(work, DENSE, 12, tie_word_embeddings=False, rms_norm_eps=1e-4, **lively)
    untied["model"]["mixer"] = {"kind": "attention", "num_heads": 3, "num_kv_heads": 1, "head_dim": 20,
                                "rope_theta": 777}
    check_run_folder(arguments, work, "dense of odd shape, separate output", "LlamaForCausalLM", untied)
    check_run_folder(arguments, work, "sparse", "MixtralForCausalLM", recipe(work, SPARSE, 12, **lively))
    untied = recipe(work, SPARSE, 12, tie_word_embeddings=False, **lively)
    check_run_folder(arguments, work, "sparse, separate output", "MixtralForCausalLM", untied)
    print("folders, transformers' in ours:")
    common = dict(vocab_size=211, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                  intermediate_size=56, max_position_embeddings=128, initializer_range=0.2)
    check_foreign_folder(arguments, work, LlamaConfig(**common, tie_word_embeddings=True))
    check_foreign_folder(arguments, work, MixtralConfig(**common, num_local_experts=6, num_experts_per_tok=3))


def main():
    checks = {"gradients": check_gradients, "curve": check_curve, "folders": check_folders}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", help=f"of {', '.join(checks)}; all of them by default")
    parser.add_argument("--dump", required=True, help="the program dump_gradients")
    parser.add_argument("--coterie", required=True, help="the program coterie")
    arguments = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
    torch.set_num_threads(1)
    for name in arguments.checks or checks:
        with tempfile.TemporaryDirectory() as work:
            checks[name](arguments, pathlib.Path(work))
    print(f"{failures} failed" if failures else "all as expected")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
