"""Peer yardstick: PyTorch on the CPU, the same work as `coterie bench` does.

One decoder block stack (RMSNorm, RoPE attention, SwiGLU or sparse FFN), next-token loss, AdamW.
Prints one JSON line per case: tokens/s over the counted steps (median), peak RSS.
  train_torch.py CASE [--dtype f32|bf16] [--steps N] [--compile]
CASES: dense, moe (16 experts, top-2, FLOP-matched), moe_hf (transformers' Mixtral layers), peer (1024^2 experts in the middle layer);
small-dense, small-moe: the same at width 128, 4 layers, context 64, batch 12, 65 characters (where fixed costs per step show).
"""
import argparse, json, resource, statistics, sys, time
import torch, torch.nn as nn, torch.nn.functional as F

SMALL = any(a.startswith("small") for a in sys.argv)
D, L, H, V, B, S, FFN = (128, 4, 4, 65, 12, 64, 344) if SMALL else (384, 6, 6, 8192, 8, 512, 1024)
torch.manual_seed(0); torch.set_num_threads(2)

class RMS(nn.Module):
    def __init__(s, d): super().__init__(); s.w = nn.Parameter(torch.ones(d))
    def forward(s, x): return F.rms_norm(x, (x.shape[-1],), s.w, 1e-5)

def rope(x, cos, sin):
    a, b = x.chunk(2, -1); return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

class Attn(nn.Module):
    def __init__(s):
        super().__init__(); s.qkv = nn.Linear(D, 3 * D, bias=False); s.o = nn.Linear(D, D, bias=False)
        f = 1e4 ** (-torch.arange(0, D // H // 2) / (D // H // 2)); t = torch.arange(S)[:, None] * f
        s.register_buffer("cos", t.cos()); s.register_buffer("sin", t.sin())
    def forward(s, x):
        q, k, v = (t.view(B, S, H, D // H).transpose(1, 2) for t in s.qkv(x).chunk(3, -1))
        c, n = s.cos.to(x.dtype), s.sin.to(x.dtype)
        y = F.scaled_dot_product_attention(rope(q, c, n), rope(k, c, n), v, is_causal=True)
        return s.o(y.transpose(1, 2).reshape(B, S, D))

class SwiGLU(nn.Module):
    def __init__(s, f=FFN): super().__init__(); s.gu = nn.Linear(D, 2 * f, bias=False); s.d = nn.Linear(f, D, bias=False)
    def forward(s, x): g, u = s.gu(x).chunk(2, -1); return s.d(F.silu(g) * u)

class MoE(nn.Module):
    """E experts, top-k, softmax over the chosen; dropless; the index_select / per-expert loop that a good PyTorch user writes."""
    def __init__(s, E=16, k=2):
        super().__init__(); s.k, s.E = k, E; s.r = nn.Linear(D, E, bias=False); f = FFN // k
        s.gu = nn.Parameter(torch.randn(E, D, 2 * f) * D ** -.5); s.d = nn.Parameter(torch.randn(E, f, D) * f ** -.5)
    def forward(s, x):
        x2 = x.reshape(-1, D); p = s.r(x2).float().softmax(-1); w, i = p.topk(s.k, -1); w = (w / w.sum(-1, keepdim=True)).to(x.dtype)
        flat = i.reshape(-1); order = flat.argsort(stable=True); tok = order // s.k
        n = torch.bincount(flat, minlength=s.E); xs = x2.index_select(0, tok); out = []
        for e, c in enumerate(xs.split(n.tolist())):
            g, u = (c @ s.gu[e]).chunk(2, -1); out.append((F.silu(g) * u) @ s.d[e])
        y = torch.cat(out) * w.reshape(-1).index_select(0, order)[:, None]
        f_ = n.float() / flat.numel(); s.aux = s.E * (f_ * p.mean(0)).sum()
        return torch.zeros_like(x2).index_add(0, tok, y.to(x2.dtype)).view_as(x)

class PEER(nn.Module):
    def __init__(s, n=1024, h=8, k=16, dq=128):
        super().__init__(); s.n, s.h, s.k, s.dq = n, h, k, dq
        s.q = nn.Linear(D, h * dq, bias=False); s.keys = nn.Parameter(torch.randn(2, n, dq // 2) * (dq // 2) ** -.5)
        s.bn = nn.BatchNorm1d(h * dq); s.down = nn.Embedding(n * n, D, sparse=True); s.up = nn.Embedding(n * n, D, sparse=True)
        nn.init.normal_(s.down.weight, std=D ** -.5); nn.init.normal_(s.up.weight, std=(h * k) ** -.5)
    def forward(s, x):
        x2 = x.reshape(-1, D); T = x2.shape[0]
        q = s.bn(s.q(x2)).view(T, s.h, 2, s.dq // 2)
        sc = torch.einsum("thpd,pnd->thpn", q, s.keys.to(q.dtype)); v, i = sc.topk(s.k, -1)
        a = (v[:, :, 0, :, None] + v[:, :, 1, None, :]).flatten(-2); ids = (i[:, :, 0, :, None] * s.n + i[:, :, 1, None, :]).flatten(-2)
        g, j = a.topk(s.k, -1); e = ids.gather(-1, j); g = g.float().softmax(-1).to(x.dtype)
        hdn = F.gelu(torch.einsum("td,thkd->thk", x2, s.down(e).to(x.dtype))) * g
        return torch.einsum("thk,thkd->td", hdn, s.up(e).to(x.dtype)).view_as(x)

class Block(nn.Module):
    def __init__(s, ffn): super().__init__(); s.n1, s.a, s.n2, s.f = RMS(D), Attn(), RMS(D), ffn
    def forward(s, x): x = x + s.a(s.n1(x)); return x + s.f(s.n2(x))

class LM(nn.Module):
    def __init__(s, case):
        super().__init__(); s.e = nn.Embedding(V, D); nn.init.normal_(s.e.weight, std=.02)
        mk = {"dense": lambda l: SwiGLU(), "moe": lambda l: MoE(), "peer": lambda l: PEER() if l == L // 2 else SwiGLU()}[case.removeprefix("small-")]
        s.b = nn.ModuleList(Block(mk(l)) for l in range(L)); s.n = RMS(D)
    def forward(s, t, y):
        x = s.e(t)
        for b in s.b: x = b(x)
        loss = F.cross_entropy(F.linear(s.n(x), s.e.weight).float().view(-1, V), y.view(-1))
        return loss + sum(0.01 * b.f.aux for b in s.b if hasattr(b.f, "aux"))

def main():
    ap = argparse.ArgumentParser(); ap.add_argument("case"); ap.add_argument("--dtype", default="f32")
    ap.add_argument("--steps", type=int, default=10); ap.add_argument("--compile", action="store_true"); a = ap.parse_args()
    if a.case == "moe_hf":
        from transformers import MixtralConfig, MixtralForCausalLM
        cfg = MixtralConfig(vocab_size=V, hidden_size=D, intermediate_size=FFN // 2, num_hidden_layers=L, num_attention_heads=H, num_key_value_heads=H,
                            num_local_experts=16, num_experts_per_tok=2, max_position_embeddings=S, tie_word_embeddings=True, output_router_logits=True, use_cache=False)
        hf = MixtralForCausalLM(cfg); m = hf; f = lambda t, y: hf(input_ids=t, labels=t).loss
    else:
        m = LM(a.case); f = m
    dense = [p for n, p in m.named_parameters() if not n.endswith(("down.weight", "up.weight"))]
    emb = [p for n, p in m.named_parameters() if n.endswith(("down.weight", "up.weight"))] if a.case == "peer" else []
    if a.case != "peer": dense = list(m.parameters())
    opts = [torch.optim.AdamW(dense, 1e-3)] + ([torch.optim.SparseAdam(emb, 1e-3)] if emb else [])
    if a.compile: f = torch.compile(f)
    ts = []
    for i in range(a.steps + 2):
        t = torch.randint(V, (B, S + 1)); t0 = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=a.dtype == "bf16"): loss = f(t[:, :-1].contiguous(), t[:, 1:].contiguous())
        loss.backward()
        for o in opts: o.step(); o.zero_grad(set_to_none=True)
        if i >= 2: ts.append(time.perf_counter() - t0)
    med = statistics.median(ts)
    print(json.dumps(dict(case=a.case, dtype=a.dtype, compile=a.compile, tokens_per_s=round(B * S / med), step_ms=round(med * 1e3, 1), min_ms=round(min(ts) * 1e3, 1),
          params_m=round(sum(p.numel() for p in m.parameters()) / 1e6, 1), rss_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2), loss=round(loss.item(), 3))), flush=True)
main()
