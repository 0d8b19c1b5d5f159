"""Checkpoints of llama2.c by its own rules, in plain Python.

    llama2c_oracle.py write FILE.bin SEED WIDTH HIDDEN LAYERS HEADS KEY_HEADS VOCABULARY CONTEXT   (VOCABULARY negative: an output matrix of its own)
    llama2c_oracle.py check FILE.bin IDS.json LOGITS.safetensors

The second computes the logits of the ids from the file and compares: sums of some tens of products in f32 differ from sums in f64 by far less than
1e-5 of the largest.
"""
import json, math, random, struct, sys


def layout(width, hidden, layers, heads, kv_heads, vocabulary, context):
    """[(name, tensors, rows, columns)] in file order."""
    kv, words = width // heads * kv_heads, abs(vocabulary)
    parts = [("embed", 1, words, width), ("norm", layers, 1, width), ("q", layers, width, width), ("k", layers, kv, width), ("v", layers, kv, width),
             ("out", layers, width, width), ("ffn_norm", layers, 1, width), ("gate", layers, hidden, width), ("down", layers, width, hidden),
             ("up", layers, hidden, width), ("last_norm", 1, 1, width), ("rotary", 1, context, width // heads)]
    return parts + ([("head", 1, words, width)] if vocabulary < 0 else [])


def write(path, seed, *sizes):
    draw = random.Random(seed)
    with open(path, "wb") as f:
        f.write(struct.pack("<7i", *sizes))
        for name, tensors, rows, columns in layout(*sizes):
            middle, spread = (1, 0.2) if "norm" in name else (0, 1 if name in ("embed", "head") else columns**-0.5)
            count = tensors * rows * columns
            f.write(struct.pack(f"<{count}f", *(draw.gauss(middle, spread) for _ in range(count))))


def read(path):
    data = open(path, "rb").read()
    sizes, at, tensors = struct.unpack_from("<7i", data), 28, {}
    for name, count, rows, columns in layout(*sizes):
        tensors[name] = []
        for _ in range(count):
            flat = struct.unpack_from(f"<{rows * columns}f", data, at)
            at += 4 * rows * columns
            tensors[name].append([flat[r * columns : (r + 1) * columns] for r in range(rows)])
    assert at == len(data)
    return sizes, tensors


def product(matrix, x):
    return [math.sumprod(row, x) if hasattr(math, "sumprod") else sum(a * b for a, b in zip(row, x)) for row in matrix]


def norm(x, weight):
    scale = (sum(a * a for a in x) / len(x) + 1e-5) ** -0.5
    return [a * scale * w for a, w in zip(x, weight[0])]


def rotate(x, position, head):
    """Neighbours of each head turn by position / 10000^(2j / head)."""
    out = list(x)
    for i in range(0, len(x), 2):
        angle = position * 10000.0 ** (-(i % head) / head)
        c, s = math.cos(angle), math.sin(angle)
        out[i], out[i + 1] = x[i] * c - x[i + 1] * s, x[i] * s + x[i + 1] * c
    return out


def logits_of(sizes, w, ids):
    width, hidden, layers, heads, kv_heads, vocabulary, context = sizes
    head, keys, values, out = width // heads, [[] for _ in range(layers)], [[] for _ in range(layers)], []
    for position, token in enumerate(ids):
        x = list(w["embed"][0][token])
        for i in range(layers):
            y = norm(x, w["norm"][i])
            q = rotate(product(w["q"][i], y), position, head)
            keys[i].append(rotate(product(w["k"][i], y), position, head))
            values[i].append(product(w["v"][i], y))
            mixed = []
            for h in range(heads):
                at, group = h * head, h // (heads // kv_heads) * head
                scores = [sum(a * b for a, b in zip(q[at : at + head], k[group : group + head])) / math.sqrt(head) for k in keys[i]]
                top = max(scores)
                shares = [math.exp(s - top) for s in scores]
                mixed += [sum(p * v[group + j] for p, v in zip(shares, values[i])) / sum(shares) for j in range(head)]
            x = [a + b for a, b in zip(x, product(w["out"][i], mixed))]
            y = norm(x, w["ffn_norm"][i])
            inner = [g / (1 + math.exp(-g)) * u for g, u in zip(product(w["gate"][i], y), product(w["up"][i], y))]
            x = [a + b for a, b in zip(x, product(w["down"][i], inner))]
        out.append(product(w["head" if vocabulary < 0 else "embed"][0], norm(x, w["last_norm"][0])))
    return out


def check(path, ids_path, logits_path):
    sizes, weights = read(path)
    wanted = logits_of(sizes, weights, json.load(open(ids_path)))
    data = open(logits_path, "rb").read()
    (length,) = struct.unpack_from("<Q", data)
    entry = json.loads(data[8 : 8 + length])["logits"]
    assert entry["shape"] == [len(wanted), abs(sizes[5])], entry
    got = struct.unpack_from(f"<{len(wanted) * abs(sizes[5])}f", data, 8 + length + entry["data_offsets"][0])
    wanted = [value for row in wanted for value in row]
    worst, largest = max(abs(a - b) for a, b in zip(got, wanted)), max(map(abs, wanted))
    assert worst <= 1e-5 * largest, f"logits differ by {worst}, the largest is {largest}"


if sys.argv[1] == "write":
    write(sys.argv[2], *map(int, sys.argv[3:]))
else:
    check(*sys.argv[2:])
