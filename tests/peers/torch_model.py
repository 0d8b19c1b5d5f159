"""The language model once more, in PyTorch and f64: written from the formulas, for clarity and not for speed.

A recipe's `model` section says what it is; parameters are a dict under Coterie's names. T tokens, D width, E experts.
Whatever no case of models.yaml uses is left out and refused.
"""
import math

import torch
import torch.nn.functional as F

ROUTERS = {  # kind: options that are known here, with their defaults
    "top_k": dict(top_k=2, softmax="all", norm_topk_prob=True),
    "noisy_top_k": dict(top_k=2, noise_eps=1e-2),
    "switch": dict(jitter_eps=0.0),
}
RULES = {
    "aux": dict(coef=0.01, choices="all", divide_by_k=True),
    "z_loss": dict(coef=0.001),
    "importance": dict(coef=0.1),
    "load": dict(coef=0.1, threshold="excluding", threshold_grad=True),
}
ATTENTION = dict(num_heads=4, num_kv_heads=None, head_dim=None, rope_theta=10000.0, sliding_window=0, bias=False,
                 out_bias=False, qk_norm=False, qk_norm_over="head", rope_scaling=None)
CAPACITY = dict(capacity_factor=1.25, policy="position", round="ceil")
MODEL = dict(hidden_size=256, num_layers=4, mixer=None, ffn=None, layers=(), tie_word_embeddings=True,
             rms_norm_eps=1e-5, init_std=None)  # how parameters start is not asked here


def frequencies(a, size, dtype):
    """Rotary angles per position and the length of the turned pairs; of the scaled kinds linear, and yarn as in its paper."""
    pair = torch.arange(0, size, 2, dtype=dtype)
    frequency, scaling = a["rope_theta"] ** (-pair / size), a["rope_scaling"] or {"rope_type": "default"}
    if scaling["rope_type"] == "default":
        return frequency, 1.0
    factor = scaling["factor"]
    if scaling["rope_type"] == "linear":
        return frequency / factor, 1.0
    assert scaling["rope_type"] == "yarn"
    turns = scaling["original_max_position_embeddings"] * frequency / (2 * math.pi)  # within the trained length

    def pair_with(wanted):  # where log(turns), a straight line over pairs, has this value
        slope = (turns[1].log() - turns[0].log())
        return ((math.log(wanted) - turns[0].log()) / slope).item()

    low, high = math.floor(pair_with(scaling.get("beta_fast", 32))), math.ceil(pair_with(scaling.get("beta_slow", 1)))
    low, high = max(low, 0), min(high, size - 1)
    ramp = ((torch.arange(size // 2, dtype=dtype) - low) / (high - low)).clamp(0, 1)
    return frequency * (1 - ramp) + frequency / factor * ramp, 0.1 * math.log(factor) + 1


def options(spec, known):
    """The options of a spec over their defaults; one that is unknown here is an error."""
    given = {k: v for k, v in spec.items() if k != "kind"}
    assert given.keys() <= known.keys(), f"not implemented here: {given.keys() - known.keys()}"
    return known | given


def layers_at(at, count):
    """The layers that an entry's `at` means: a number or Python's slice."""
    parts = [int(p) if p else None for p in str(at).split(":")]
    return [range(count)[parts[0]]] if len(parts) == 1 else range(count)[slice(*parts)]


class Model:
    def __init__(self, section, vocab_size):
        self.o, self.vocab_size = options(section, MODEL), vocab_size
        self.layers = [[self.o["mixer"], self.o["ffn"]] for _ in range(self.o["num_layers"])]
        for entry in self.o["layers"]:
            for i in layers_at(entry["at"], len(self.layers)):
                self.layers[i] = [entry.get("mixer", self.layers[i][0]), entry.get("ffn", self.layers[i][1])]
        self.smallest_gap = math.inf  # between the last chosen logit and the first left out, over all passes

    # ---- parameters ----

    def shapes(self):
        d, out = self.o["hidden_size"], {}
        out["embed.weight"] = (self.vocab_size, d)
        if not self.o["tie_word_embeddings"]:
            out["head.weight"] = (self.vocab_size, d)
        out["final_norm.weight"] = (d,)
        for i, (mixer, ffn) in enumerate(self.layers):
            out[f"layers.{i}.mixer_norm.weight"] = out[f"layers.{i}.ffn_norm.weight"] = (d,)
            self.mixer_shapes(f"layers.{i}.mixer", mixer, out)
            for j, member in enumerate(ffn if isinstance(ffn, list) else [ffn]):
                self.ffn_shapes(f"layers.{i}.ffn" + (f".{j}" if j else ""), member, out)
        return out

    def heads(self, spec):
        a = options(spec, ATTENTION)
        h = a["num_heads"]
        return a, h, a["num_kv_heads"] or h, a["head_dim"] or self.o["hidden_size"] // h

    def mixer_shapes(self, name, spec, out):
        a, h, kv, size = self.heads(spec)
        d = self.o["hidden_size"]
        out[f"{name}.qkv.weight"] = ((h + 2 * kv) * size, d)
        out[f"{name}.out.weight"] = (d, h * size)
        if a["bias"]:
            out[f"{name}.qkv.bias"] = ((h + 2 * kv) * size,)
        if a["out_bias"]:
            out[f"{name}.out.bias"] = (d,)
        if a["qk_norm"]:
            whole = a["qk_norm_over"] == "vector"
            out[f"{name}.q_norm.weight"] = (h * size if whole else size,)
            out[f"{name}.k_norm.weight"] = (kv * size if whole else size,)

    def ffn_shapes(self, name, spec, out):
        d = self.o["hidden_size"]
        if spec["kind"] == "dense":
            f = spec["intermediate_size"]
            out[f"{name}.gate_up.weight"], out[f"{name}.down.weight"] = (2 * f, d), (d, f)
            if spec.get("bias"):
                out[f"{name}.gate_up.bias"], out[f"{name}.down.bias"] = (2 * f,), (d,)
            return
        e, f = spec["experts"]["num_experts"], spec["experts"]["intermediate_size"]
        out[f"{name}.router.weight"] = (e, d)
        if spec["router"]["kind"] == "noisy_top_k":
            out[f"{name}.router.noise_weight"] = (e, d)
        out[f"{name}.experts.gate_up"], out[f"{name}.experts.down"] = (e, 2 * f, d), (e, d, f)
        if "shared" in spec:
            f = spec["shared"]["intermediate_size"]
            out[f"{name}.shared.gate_up.weight"], out[f"{name}.shared.down.weight"] = (2 * f, d), (d, f)
            if spec["shared"].get("gate", "none") == "sigmoid":
                out[f"{name}.shared.gate.weight"] = (1, d)

    # ---- forward ----

    def loss(self, p, ids, targets, first, training=True, noise=None):
        """Cross-entropy of each token [T] (0 where the target is -1), and the balance losses in order.

        first [T]: where the text that a token may look at begins; noise: {layer: [T, E]} standard normal draws.
        """
        self.training, self.noise, self.balance = training, noise or {}, []
        x = p["embed.weight"][ids]
        for i, (mixer, ffn) in enumerate(self.layers):
            y = self.norm(x, p[f"layers.{i}.mixer_norm.weight"])
            x = x + self.attention(p, f"layers.{i}.mixer", mixer, y, first)
            y = self.norm(x, p[f"layers.{i}.ffn_norm.weight"])
            for j, member in enumerate(ffn if isinstance(ffn, list) else [ffn]):
                name = f"layers.{i}.ffn" + (f".{j}" if j else "")
                x = x + (self.sparse(p, name, member, y, i) if member["kind"] == "sparse" else self.swiglu(p, name, y))
        head = p["embed.weight" if self.o["tie_word_embeddings"] else "head.weight"]
        logits = self.norm(x, p["final_norm.weight"]) @ head.T
        return F.cross_entropy(logits, targets, ignore_index=-1, reduction="none"), self.balance

    def norm(self, x, weight):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.o["rms_norm_eps"]) * weight

    @staticmethod
    def swiglu(p, name, x, end=".weight", e=...):
        bias = [p.get(f"{name}.{part}.bias", 0) for part in ("gate_up", "down")]
        gate, up = (x @ p[f"{name}.gate_up{end}"][e].T + bias[0]).chunk(2, -1)
        return (gate * torch.sigmoid(gate) * up) @ p[f"{name}.down{end}"][e].T + bias[1]

    def attention(self, p, name, spec, x, first):
        a, h, kv, size = self.heads(spec)
        tokens = x.shape[0]
        qkv = x @ p[f"{name}.qkv.weight"].T + (p[f"{name}.qkv.bias"] if a["bias"] else 0)
        q, k, v = qkv.split([h * size, kv * size, kv * size], -1)
        if a["qk_norm"]:  # over as many elements as there are weights
            weights = [p[f"{name}.{part}_norm.weight"] for part in "qk"]
            q, k = (self.norm(part.view(tokens, -1, w.numel()), w) for part, w in zip((q, k), weights))
        q, k, v = (part.reshape(tokens, -1, size) for part in (q, k, v))
        index = torch.arange(tokens)
        frequency, length = frequencies(a, size, x.dtype)
        angle = (index - first)[:, None] * frequency
        turn = torch.polar(torch.full_like(angle, length), angle)[:, None]

        def rotate(t):  # pairs (i, i + size / 2) as complex numbers
            turned = torch.complex(*t.chunk(2, -1)) * turn
            return torch.cat((turned.real, turned.imag), -1)

        q, k = rotate(q), rotate(k).repeat_interleave(h // kv, 1)
        v = v.repeat_interleave(h // kv, 1)
        back = index[:, None] - index[None]
        seen = (back >= 0) & (index[None] >= first[:, None])
        if a["sliding_window"]:
            seen &= back < a["sliding_window"]
        scores = torch.einsum("thd,shd->hts", q, k) / math.sqrt(size)
        weights = scores.masked_fill(~seen, -math.inf).softmax(-1)
        mixed = torch.einsum("hts,shd->thd", weights, v).reshape(tokens, h * size)
        return mixed @ p[f"{name}.out.weight"].T + (p[f"{name}.out.bias"] if a["out_bias"] else 0)

    # ---- the sparse feed-forward ----

    def sparse(self, p, name, spec, x, layer):
        tokens, experts = x.shape[0], spec["experts"]["num_experts"]
        expert, gate, facts = self.route(p, name, spec["router"], x, layer)
        self.balance += [self.rule(rule, expert, gate, facts) for rule in spec.get("balance", [])]
        kept = self.within_capacity(spec["capacity"], expert, experts) if "capacity" in spec else expert >= 0
        out = torch.zeros_like(x)
        for e in range(experts):
            token, choice = torch.nonzero((expert == e) & kept, as_tuple=True)
            y = self.swiglu(p, f"{name}.experts", x[token], "", e)
            out = out.index_add(0, token, gate[token, choice, None] * y)
        if "shared" in spec:
            y, gated = self.swiglu(p, f"{name}.shared", x), spec["shared"].get("gate", "none") == "sigmoid"
            out = out + (torch.sigmoid(x @ p[f"{name}.shared.gate.weight"].T) * y if gated else y)
        return out

    def route(self, p, name, spec, x, layer):
        """expert, gate [T, k], and what balance rules read: clean and ranked logits, the noise's scale, all [T, E]."""
        o = options(spec, ROUTERS[spec["kind"]])
        k = o.get("top_k", 1)
        clean = x @ p[f"{name}.router.weight"].T
        ranked, std = clean, None
        if spec["kind"] == "noisy_top_k" and self.training:
            std = F.softplus(x @ p[f"{name}.router.noise_weight"].T) + o["noise_eps"]
            ranked = clean + self.noise[layer] * std
        top, expert = ranked.topk(k, -1)
        if k < clean.shape[1]:
            gap = top[:, -1] - ranked.scatter(1, expert, -math.inf).amax(1)
            self.smallest_gap = min(self.smallest_gap, gap.min().item())
        if spec["kind"] == "switch":
            gate = clean.softmax(-1).gather(1, expert)
        elif spec["kind"] == "top_k" and o["softmax"] == "all":
            gate = clean.softmax(-1).gather(1, expert)
            gate = gate / gate.sum(1, keepdim=True) if o["norm_topk_prob"] else gate
        else:
            gate = top.softmax(-1)
        return expert, gate, (clean, ranked, std)

    def within_capacity(self, spec, expert, experts):
        o = options(spec, CAPACITY)
        assert o["policy"] == "position"
        tokens, k = expert.shape
        slots = getattr(math, o["round"])(o["capacity_factor"] * k * tokens / experts)
        used, kept = [0] * experts, torch.zeros_like(expert, dtype=torch.bool)
        for j in range(k):
            for t in range(tokens):
                e = expert[t, j].item()
                kept[t, j] = used[e] < slots
                used[e] += 1
        return kept

    def rule(self, spec, expert, gate, facts):
        o, (clean, ranked, std) = options(spec, RULES[spec["kind"]]), facts
        (tokens, k), experts = expert.shape, clean.shape[1]

        def squared_variation(v):
            return o["coef"] * v.var(correction=0) / (v.mean() ** 2 + 1e-10)

        if spec["kind"] == "z_loss":
            return o["coef"] * clean.logsumexp(1).square().mean()
        if spec["kind"] == "aux":
            counted = expert[:, :1] if o["choices"] == "first" else expert
            whole = tokens * (k if o["choices"] == "all" and o["divide_by_k"] else 1)
            fraction = counted.flatten().bincount(minlength=experts).to(clean) / whole
            return o["coef"] * experts * (fraction * clean.softmax(1).mean(0)).sum()
        if spec["kind"] == "importance":
            importance = torch.zeros(experts, dtype=gate.dtype).index_add(0, expert.flatten(), gate.flatten())
            return squared_variation(importance)
        if std is None:
            return squared_variation(expert.flatten().bincount(minlength=experts).to(clean))
        threshold = self.thresholds(ranked, k, o["threshold"])
        threshold = threshold if o["threshold_grad"] else threshold.detach()
        return squared_variation(torch.special.ndtr((clean - threshold) / std).sum(0))

    @staticmethod
    def thresholds(ranked, k, kind):
        """[T, E]: the k-th largest of all, or of all others."""
        if kind == "kth":
            return ranked.topk(k, 1).values[:, -1:].expand_as(ranked)
        columns = range(ranked.shape[1])
        return torch.stack([ranked[:, [c for c in columns if c != e]].topk(k, 1).values[:, -1] for e in columns], 1)
