"""Holds a GGUF file that `coterie export` wrote against the model folder that it came from.

    check_gguf.py FILE.gguf FOLDER f32|f16|bf16|q8_0

Reads both formats by their specifications with nothing but Python's own modules. Every tensor of the folder must be there, in the name, shape, type
and place that llama.cpp looks for, its numbers equal to the folder's rounded to the type; likewise settings and tokenizer.
"""
import json, math, pathlib, struct, sys

TYPES = {0: "f32", 1: "f16", 8: "q8_0", 30: "bf16"}
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, letter):
        (value,) = struct.unpack_from("<" + letter, self.data, self.at)
        self.at += struct.calcsize("<" + letter)
        return value

    def text(self):
        length = self.number("Q")
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8")

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind != 9:
            return self.number(NUMBERS[kind])
        member, count = self.number("I"), self.number("Q")
        return [self.value(member) for _ in range(count)]


def read_gguf(path):
    """Settings, and {name: (type, sizes fastest first, bytes)}."""
    r = Reader(path.read_bytes())
    assert r.data[:4] == b"GGUF"
    r.at = 4
    version, tensors, count = r.number("I"), r.number("Q"), r.number("Q")
    assert version == 3, version
    settings = {}
    for _ in range(count):
        key = r.text()
        assert key not in settings, key
        settings[key] = r.value(r.number("I"))
    entries = []
    for _ in range(tensors):
        name = r.text()
        sizes = [r.number("Q") for _ in range(r.number("I"))]
        entries.append((name, TYPES[r.number("I")], sizes, r.number("Q")))
    start, end, found = (r.at + 31) // 32 * 32, 0, {}
    for name, kind, sizes, offset in entries:
        count = math.prod(sizes)
        bytes_ = {"f32": 4 * count, "f16": 2 * count, "bf16": 2 * count, "q8_0": count // 32 * 34}[kind]
        assert offset == (end + 31) // 32 * 32, (name, offset, end)  # tensors stand back to back on multiples of 32
        end = offset + bytes_
        assert name not in found, name
        found[name] = kind, sizes, r.data[start + offset : start + end]
        assert len(found[name][2]) == bytes_, name
    assert len(r.data) == start + (end + 31) // 32 * 32, "bytes are left over"
    return settings, found


def read_folder(folder):
    """{name: (shape, numbers)} of model.safetensors in f32."""
    data = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32"
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = entry["shape"], list(struct.unpack_from(f"<{(end - begin) // 4}f", data, begin))
    return tensors


def neighbours(numbers, heads, head_dim, columns):
    """Rows of each head from halves (j, j + d/2) to neighbours (2j, 2j + 1)."""
    out = []
    for head in range(heads):
        for j in range(head_dim // 2):
            for row in head * head_dim + j, head * head_dim + j + head_dim // 2:
                out += numbers[row * columns : (row + 1) * columns]
    return out


def expected(folder, config):
    """{GGUF name: (shape, numbers)}."""
    tensors, out = read_folder(folder), {}
    width, heads = config["hidden_size"], config["num_attention_heads"]
    kv_heads, head_dim = config["num_key_value_heads"], config["head_dim"]

    def move(theirs, ours):
        out[theirs] = tensors.pop("model." + ours if ours != "lm_head.weight" else ours)

    def stack(theirs, ours, experts):
        parts = [tensors.pop("model." + ours.format(e)) for e in range(experts)]
        out[theirs] = [experts, *parts[0][0]], sum((numbers for _, numbers in parts), [])

    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        assert rope["rope_type"] == "linear", "this test knows no other"
        out["rope_freqs.weight"] = [head_dim // 2], [rope["factor"]] * (head_dim // 2)
    move("token_embd.weight", "embed_tokens.weight")
    move("output_norm.weight", "norm.weight")
    if not config["tie_word_embeddings"]:
        move("output.weight", "lm_head.weight")
    for i in range(config["num_hidden_layers"]):
        move(f"blk.{i}.attn_norm.weight", f"layers.{i}.input_layernorm.weight")
        move(f"blk.{i}.ffn_norm.weight", f"layers.{i}.post_attention_layernorm.weight")
        for letter, count in ("q", heads), ("k", kv_heads):
            shape, numbers = tensors.pop(f"model.layers.{i}.self_attn.{letter}_proj.weight")
            assert shape == [count * head_dim, width]
            out[f"blk.{i}.attn_{letter}.weight"] = shape, neighbours(numbers, count, head_dim, width)
        move(f"blk.{i}.attn_v.weight", f"layers.{i}.self_attn.v_proj.weight")
        move(f"blk.{i}.attn_output.weight", f"layers.{i}.self_attn.o_proj.weight")
        if config["model_type"] == "llama":
            for part in "gate", "up", "down":
                move(f"blk.{i}.ffn_{part}.weight", f"layers.{i}.mlp.{part}_proj.weight")
        else:
            moe = f"layers.{i}.block_sparse_moe"
            move(f"blk.{i}.ffn_gate_inp.weight", f"{moe}.gate.weight")
            for part, w in ("gate", "w1"), ("up", "w3"), ("down", "w2"):
                stack(f"blk.{i}.ffn_{part}_exps.weight", f"{moe}.experts.{{}}.{w}.weight", config["num_local_experts"])
    assert not tensors, sorted(tensors)
    return out


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def bf16_bits(x):
    (bits,) = struct.unpack("<I", struct.pack("<f", x))
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def q8_block(block):
    scale = f32(max(abs(x) for x in block) / 127)
    inverse = f32(1 / scale) if scale else 0.0
    levels = [math.floor(abs(f32(x * inverse)) + 0.5) * (1 if x > 0 else -1) for x in block]
    return struct.pack("<e32b", scale, *levels)


def encoded(kind, numbers):
    if kind == "f32":
        return struct.pack(f"<{len(numbers)}f", *numbers)
    if kind == "f16":
        return struct.pack(f"<{len(numbers)}e", *numbers)
    if kind == "bf16":
        return struct.pack(f"<{len(numbers)}H", *map(bf16_bits, numbers))
    return b"".join(q8_block(numbers[i : i + 32]) for i in range(0, len(numbers), 32))


def wanted_type(name, shape, kind):
    if len(shape) == 1 or "ffn_gate_inp" in name:
        return "f32"
    return "f16" if kind == "q8_0" and shape[-1] % 32 else kind


def check_tokenizer(settings, folder, vocab_size):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocab, added = tokenizer["model"]["vocab"], {t["content"]: t for t in tokenizer["added_tokens"]}
    vocab = vocab | {text: t["id"] for text, t in added.items()}
    tokens, kinds = settings["tokenizer.ggml.tokens"], settings["tokenizer.ggml.token_type"]
    assert len(tokens) == len(kinds) == len(set(tokens)) == vocab_size
    for text, i in vocab.items():
        assert tokens[i] == text and kinds[i] == (1 if text not in added else 3 if added[text]["special"] else 4), (text, i)
    assert kinds.count(5) == vocab_size - len(vocab)
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    assert settings["tokenizer.ggml.merges"] == merges
    assert (settings["tokenizer.ggml.model"], settings["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    end = vocab["<|endoftext|>"]
    assert settings["tokenizer.ggml.bos_token_id"] == settings["tokenizer.ggml.eos_token_id"] == end
    assert settings["tokenizer.ggml.add_bos_token"] is settings["tokenizer.ggml.add_eos_token"] is False


def main():
    path, folder, kind = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    config = json.loads((folder / "config.json").read_text())
    settings, found = read_gguf(path)
    wanted = expected(folder, config)
    assert set(found) == set(wanted), set(found) ^ set(wanted)
    for name, (shape, numbers) in wanted.items():
        stored, sizes, data = found[name]
        assert sizes == shape[::-1], (name, sizes, shape)
        assert stored == wanted_type(name, shape, kind), (name, stored)
        assert data == encoded(stored, numbers), f"{name}: other numbers"
    sparse = config["model_type"] == "mixtral"
    for key, value in {
        "general.architecture": "llama",
        "general.file_type": {"f32": 0, "f16": 1, "q8_0": 7, "bf16": 32}[kind],
        "llama.vocab_size": config["vocab_size"],
        "llama.context_length": config["max_position_embeddings"],
        "llama.embedding_length": config["hidden_size"],
        "llama.block_count": config["num_hidden_layers"],
        "llama.feed_forward_length": config["intermediate_size"],
        "llama.attention.head_count": config["num_attention_heads"],
        "llama.attention.head_count_kv": config["num_key_value_heads"],
        "llama.attention.key_length": config["head_dim"],
        "llama.attention.value_length": config["head_dim"],
        "llama.attention.layer_norm_rms_epsilon": f32(config["rms_norm_eps"]),
        "llama.rope.dimension_count": config["head_dim"],
        "llama.rope.freq_base": f32(config["rope_theta"] if "rope_theta" in config else config["rope_parameters"]["rope_theta"]),
        "llama.rope.scaling.attn_factor": 1 if "rope_freqs.weight" in wanted else None,
        "llama.expert_count": config["num_local_experts"] if sparse else None,
        "llama.expert_used_count": config["num_experts_per_tok"] if sparse else None,
    }.items():
        assert settings.get(key) == value, (key, settings.get(key), value)
    check_tokenizer(settings, folder, config["vocab_size"])


main()
