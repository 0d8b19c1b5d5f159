"""PyTorch's side of `make bench-peers`: the same work as recipes/bench-CASE.yaml, as a good PyTorch user writes it.

A stack of RMSNorm, rotary attention and SwiGLU (dense, or 16 experts of half the width, top-2, dropless), next-token
loss over random tokens, AdamW. Prints one JSON line: tokens a second and milliseconds of the median step, peak memory.
"""
import argparse
import json
import os
import resource
import statistics
import time
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Case:
    width: int = 384
    layers: int = 6
    heads: int = 6
    hidden: int = 1024
    vocabulary: int = 8192
    context: int = 512
    batch: int = 8
    experts: int = 0
    top_k: int = 2
    keys: int = 0  # n sub-keys in each half: PEER with n * n experts in the middle layer


SMALL = dict(width=128, layers=4, heads=4, hidden=344, vocabulary=65, context=64, batch=12)
CASES = {"dense": Case(), "moe": Case(experts=16), "peer": Case(keys=1024),
         "small-dense": Case(**SMALL), "small-moe": Case(**SMALL, experts=16)}


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, 1e-5)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        self.qkv, self.out = nn.Linear(c.width, 3 * c.width, bias=False), nn.Linear(c.width, c.width, bias=False)
        half = c.width // c.heads // 2
        angle = torch.arange(c.context)[:, None] * 1e4 ** (-torch.arange(0, half) / half)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, x):
        batch, context, width = x.shape
        shape = (batch, context, self.heads, width // self.heads)
        q, k, v = (part.view(shape).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        cos, sin = self.cos.to(q.dtype), self.sin.to(q.dtype)
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(x.shape))


class Dense(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_up, self.down = nn.Linear(c.width, 2 * c.hidden, bias=False), nn.Linear(c.hidden, c.width, bias=False)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class Sparse(nn.Module):
    """Tokens are sorted by expert, each expert works on its rows, results are added back: no drops, no padding."""

    def __init__(self, c):
        super().__init__()
        self.experts, self.top_k, hidden = c.experts, c.top_k, c.hidden // c.top_k
        self.router = nn.Linear(c.width, c.experts, bias=False)
        self.gate_up = nn.Parameter(torch.randn(c.experts, c.width, 2 * hidden) * c.width ** -0.5)
        self.down = nn.Parameter(torch.randn(c.experts, hidden, c.width) * hidden ** -0.5)
        self.aux = None

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        probability = self.router(rows).float().softmax(-1)
        weight, expert = probability.topk(self.top_k, -1)
        weight = (weight / weight.sum(-1, keepdim=True)).to(x.dtype)
        flat = expert.reshape(-1)
        order = flat.argsort(stable=True)
        token = order // self.top_k
        count = torch.bincount(flat, minlength=self.experts)
        done = []
        for e, part in enumerate(rows.index_select(0, token).split(count.tolist())):
            gate, up = (part @ self.gate_up[e]).chunk(2, -1)
            done.append((F.silu(gate) * up) @ self.down[e])
        y = torch.cat(done) * weight.reshape(-1).index_select(0, order)[:, None]
        self.aux = self.experts * (count.float() / flat.numel() * probability.mean(0)).sum()
        return torch.zeros_like(rows).index_add(0, token, y.to(rows.dtype)).view_as(x)


class Peer(nn.Module):
    """Product keys find 8 x 16 of n * n neurons for a token; their rows are gathered, multiplied and added up."""

    def __init__(self, c, heads=8, top_k=16, query=128):
        super().__init__()
        self.n, self.heads, self.top_k, self.half = c.keys, heads, top_k, query // 2
        self.query, self.norm = nn.Linear(c.width, heads * query, bias=False), nn.BatchNorm1d(heads * query)
        self.keys = nn.Parameter(torch.randn(2, c.keys, self.half) * self.half ** -0.5)
        self.down, self.up = (nn.Embedding(c.keys ** 2, c.width, sparse=True) for _ in range(2))
        for table in (self.down, self.up):
            nn.init.normal_(table.weight, std=c.width ** -0.5)

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        query = self.norm(self.query(rows)).view(len(rows), self.heads, 2, self.half)
        score, key = torch.einsum("thsd,snd->thsn", query, self.keys.to(query.dtype)).topk(self.top_k, -1)
        pairs = (score[:, :, 0, :, None] + score[:, :, 1, None, :]).flatten(-2)
        slots = (key[:, :, 0, :, None] * self.n + key[:, :, 1, None, :]).flatten(-2)
        best, place = pairs.topk(self.top_k, -1)
        expert, gate = slots.gather(-1, place), best.float().softmax(-1).to(x.dtype)
        hidden = F.gelu(torch.einsum("td,thkd->thk", rows, self.down(expert).to(x.dtype))) * gate
        return torch.einsum("thk,thkd->td", hidden, self.up(expert).to(x.dtype)).view_as(x)


def feed_forward(c, layer):
    if c.keys and layer == c.layers // 2:
        return Peer(c)
    return Sparse(c) if c.experts else Dense(c)


class Block(nn.Module):
    def __init__(self, c, layer):
        super().__init__()
        self.norms = nn.ModuleList((Norm(c.width), Norm(c.width)))
        self.attention, self.ffn = Attention(c), feed_forward(c, layer)

    def forward(self, x):
        x = x + self.attention(self.norms[0](x))
        return x + self.ffn(self.norms[1](x))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embedding = nn.Embedding(c.vocabulary, c.width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks, self.norm = nn.ModuleList(Block(c, i) for i in range(c.layers)), Norm(c.width)

    def forward(self, ids, targets):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.embedding.weight).float()
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))
        return loss + sum(0.01 * block.ffn.aux for block in self.blocks if isinstance(block.ffn, Sparse))


def train(c, steps, bf16, compiled):
    """Seconds of each of `steps` steps after some that warm up (and compile), and the last loss."""
    torch.manual_seed(0)
    model, seconds, warm_up = Model(c), [], 3
    tables = [p for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse for p in m.parameters()]
    optimizers = [torch.optim.AdamW([p for p in model.parameters() if all(p is not t for t in tables)], 1e-3)]
    if tables:
        optimizers.append(torch.optim.SparseAdam(tables, 1e-3))
    forward = torch.compile(model) if compiled else model
    for step in range(warm_up + steps):
        tokens = torch.randint(c.vocabulary, (c.batch, c.context + 1))
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = forward(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if step >= warm_up:
            seconds.append(time.perf_counter() - start)
    return seconds, loss.item(), sum(p.numel() for p in model.parameters())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="bf16: autocast")
    parser.add_argument("--steps", type=int, default=10, help="steps that count")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    c = CASES[a.case]
    seconds, loss, parameters = train(c, a.steps, a.dtype == "bf16", a.compile)
    median = statistics.median(seconds)
    print(json.dumps({
        "name": a.case, "dtype": a.dtype, "compiled": a.compile, "threads": a.threads, "torch": torch.__version__,
        "tokens_per_s": c.batch * c.context / median, "step_ms": 1e3 * median, "min_step_ms": 1e3 * min(seconds),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "parameters": parameters,
        "loss": loss,
    }))


if __name__ == "__main__":
    main()
