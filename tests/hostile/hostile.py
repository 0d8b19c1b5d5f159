#!/usr/bin/env python3
"""Files that mean harm: each must be refused with one line that names the file and what is wrong with it, exit code 1, nothing on
stdout, nothing written, and no more memory than such a file is worth.

    hostile.py COTERIE [NAME...]     all cases, or those whose name contains one of the words
"""
import copy
import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

MB = 1 << 20
PLAIN = 12 * MB  # beyond what the program takes anyway: what a small file may cost
GIGABYTE = 1 << 30
DEEP = 1000000

coterie = os.path.abspath(sys.argv[1])
wanted = sys.argv[2:]
work = tempfile.mkdtemp()


# ---- a model that is fine ----

def byte_alphabet():
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + n) for n, b in enumerate(others)}


def tokenizer():
    vocab = {letter: byte for byte, letter in byte_alphabet().items()}
    vocab |= {"th": 256, "the": 257}
    return {
        "version": "1.0", "added_tokens": [{"id": 258, "content": "<|endoftext|>", "special": True, "normalized": False}],
        "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}, "post_processor": None,
        "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": vocab, "merges": ["t h", "th e"]},
    }


CONFIG = {
    "model_type": "llama", "vocab_size": 259, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
    "rope_theta": 10000.0, "hidden_act": "silu",
}
SHAPES = {
    "model.embed_tokens.weight": [259, 8], "model.norm.weight": [8], "model.layers.0.input_layernorm.weight": [8],
    "model.layers.0.post_attention_layernorm.weight": [8], "model.layers.0.self_attn.q_proj.weight": [8, 8],
    "model.layers.0.self_attn.k_proj.weight": [8, 8], "model.layers.0.self_attn.v_proj.weight": [8, 8],
    "model.layers.0.self_attn.o_proj.weight": [8, 8], "model.layers.0.mlp.gate_proj.weight": [8, 8],
    "model.layers.0.mlp.up_proj.weight": [8, 8], "model.layers.0.mlp.down_proj.weight": [8, 8],
}
Q = "model.layers.0.self_attn.q_proj.weight"


def header(shapes=SHAPES):
    entries, at = {}, 0
    for name, shape in shapes.items():
        size = 4
        for n in shape:
            size *= n
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    return entries


def pack(entries, length=None, data=None):
    """A safetensors file; its data are as long as its last tensor asks for, within reason."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    if data is None:
        ends = [e["data_offsets"][1] for e in entries.values()] if isinstance(entries, dict) else []
        data = max([end for end in ends if end < MB], default=0)
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(data)


def sparse(start, size, end=b""):
    """A file of `size` bytes that takes none on the disk between start and end."""
    def write(path):
        with open(path, "wb") as file:
            file.write(start)
            file.truncate(size)
            file.seek(size - len(end))
            file.write(end)
    return write


def many(unit, count, start=b"", end=b""):
    """The unit many times over. This program stays small: what it has in memory at a start counts as the other's peak."""
    def write(path):
        block = unit * max(1, (1 << 16) // len(unit))
        with open(path, "wb") as file:
            file.write(start)
            for at in range(0, count * len(unit), len(block)):
                file.write(block[:count * len(unit) - at])
            file.write(end)
    return write


def put(path, content):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if callable(content):
        content(path)
        return
    if isinstance(content, (dict, list)):
        content = json.dumps(content)
    with open(path, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def model(**files):
    """A fine model folder with some of its files replaced (None: left out)."""
    made = {"config.json": CONFIG, "tokenizer.json": tokenizer(), "model.safetensors": pack(header())}
    made |= {name.replace("__", "."): content for name, content in files.items()}
    return {f"model/{name}": content for name, content in made.items() if content is not None}


def changed(value, *path_and_new):
    """A copy with one place changed: changed(config, "hidden_size", 9)."""
    *path, last, new = path_and_new
    value = copy.deepcopy(value)
    place = value
    for key in path:
        place = place[key]
    place[last] = new
    return value


def without(value, key):
    return {k: v for k, v in value.items() if k != key}


# ---- cases: name, files, command, what the message must hold, memory beyond the program's own, what may be left ----

cases = []


def case(name, files, command, *says, memory=PLAIN, keeps=()):
    cases.append((name, files, command, says, memory, keeps))


GENERATE = ["generate", "model", "the", "--max-tokens", "1"]
ENCODE = ["tokenizer", "encode", "model", "the"]


def weights(name, content, *says, **more):
    case(f"safetensors {name}", model(model__safetensors=content), GENERATE, "model/model.safetensors", *says, **more)


def entry(dtype="F32", shape=(8, 8), begin=0, end=256):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


H = header()
TOTAL = max(e["data_offsets"][1] for e in H.values())
weights("empty", b"", "0 bytes long")
weights("truncated header", pack(H)[:200], "truncated")
weights("truncated data", pack(H)[:-100], "ends at byte")
weights("header longer than the file", pack(H, length=90000), "a header of 90000 bytes")
weights("header of 2^64 - 1 bytes", pack(H, length=2**64 - 1), "longer than 100 MB")
weights("no JSON", pack(b"hello"), "does not start with '{'")
weights("invalid UTF-8", pack(json.dumps(H).encode().replace(b"q_proj", b"q\xff\xfeoj"), data=TOTAL), "header, byte")
weights("nested a million deep", many(b"[", DEEP, struct.pack("<Q", DEEP + 5) + b'{"a":'), "header, byte")
weights("overlapping offsets", pack(changed(H, Q, "data_offsets", [0, 256])), "overlaps")
weights("overflowing offsets", pack(changed(H, Q, "data_offsets", [2**63 - 257, 2**63 - 1])), Q)
weights("offset beyond 64 bits", pack(json.dumps(changed(H, Q, "data_offsets", [0, 2**64 + 256])).encode(), data=TOTAL), "header, byte")
weights("offsets backwards", pack(changed(H, Q, "data_offsets", [256, 0])), "backwards")
weights("shape that overflows", pack(changed(H, Q, "shape", [2**62, 2**62])), "overflows")
weights("shape that its offsets deny", pack(changed(H, Q, "shape", [8, 9])), "its shape and dtype need 288")
weights("negative shape", pack(changed(H, Q, "shape", [-8, -8])), "whole numbers from 0")
weights("unknown dtype", pack(changed(H, Q, "dtype", "Q99")), Q, "dtype")
weights("bytes behind the last tensor", pack(H) + b"surplus", "7 bytes behind the last tensor")
weights("wrong dtype", pack(changed(H, Q, entry("I32", (8, 8), *H[Q]["data_offsets"]))), Q, "I32")
weights("wrong shape", pack(changed(H, Q, "shape", [4, 16])), Q, "is [4, 16], expected [8, 8]")
weights("surplus tensor", pack(header(SHAPES | {"model.extra": [1]})), "model.extra", "has no place")
weights("duplicate tensor", pack((json.dumps(H)[:-1] + ', "%s": %s}' % (Q, json.dumps(H[Q]))).encode(), data=TOTAL), Q)
weights("a name with control characters", pack(header(SHAPES | {"\x1b[2Jgone": [1]})), "control characters")
weights("gigabyte of nothing", sparse(b"", GIGABYTE), "does not start with '{'")
weights("gigabyte string as a name", sparse(struct.pack("<Q", GIGABYTE - 8) + b'{"', GIGABYTE), "longer than 100 MB")
weights("90 MB string as a name", sparse(struct.pack("<Q", 90 * MB) + b'{"', GIGABYTE), "header, byte", memory=110 * MB)
weights("gigabyte tensor", sparse(pack({"a": entry("U8", [GIGABYTE], 0, GIGABYTE)}, data=0), GIGABYTE), "")
case("safetensors missing tensor", model(model__safetensors=pack(header(without(SHAPES, Q)))), GENERATE, "model", Q, "missing")
case("safetensors a folder", {**model(model__safetensors=None), "model/model.safetensors/x": "x"}, GENERATE, "model/model.safetensors")
case("safetensors none", model(model__safetensors=None), GENERATE, "model/model.safetensors")


def index(name, weight_map, *says, **files):
    content = weight_map if not isinstance(weight_map, dict) else {"weight_map": weight_map}
    case(f"index {name}", {**model(**files), "model/model.safetensors.index.json": content}, GENERATE, "model/", *says)


whole = dict.fromkeys(SHAPES, "model.safetensors")
index("outside its folder", whole | {Q: "../secret.safetensors"}, "../secret.safetensors", "in the same folder")
index("with an absolute path", whole | {Q: "/etc/passwd"}, "/etc/passwd", "in the same folder")
index("with a folder above", whole | {Q: ".."}, "in the same folder")
index("names a file that is not there", whole | {Q: "gone.safetensors"}, "gone.safetensors")
index("names a tensor that is not there", whole | {"model.more": "model.safetensors"}, "model.more")
index("names the wrong file", whole | {Q: "two.safetensors"}, Q, **{"two__safetensors": pack(header({"x": [1]}))})
index("tensor in two files", whole | {"x": "two.safetensors"}, Q, "comes twice", **{"two__safetensors": pack(header({"x": [1], Q: [8, 8]}))})
index("is a list", b"[]", "weight_map")
index("nested a million deep", many(b"[", DEEP), "nested deeper")
index("truncated", b'{"weight_map": {"a": "mod', "not JSON")
index("invalid UTF-8", b'{"weight_map": {"a": "mod\xff"}}', "not JSON")
index("gigabyte string", sparse(b'{"weight_map": "', GIGABYTE), "longer than")


def config(name, content, *says, **more):
    case(f"config {name}", model(config__json=content), ["info", "model"], "model/config.json", *says, **more)


config("empty", b"", "not JSON")
config("truncated", json.dumps(CONFIG)[:100], "not JSON")
config("maps nested half a million deep", many(b'{"a":', DEEP // 2), "nested deeper")
config("nested a million deep", many(b"[", DEEP, end=b"]" * 1000), "nested deeper")
config("gigabyte string", sparse(b'{"model_type": "', GIGABYTE, b'"}'), "longer than")
config("invalid UTF-8", b'{"model_type": "lla\xffma"}', "not JSON")
config("key twice", b'{"model_type": "llama", "model_type": "mixtral"}', "not JSON")
config("million empty maps", many(b"{},", DEEP, b'{"a": [', b"{}]}"), "fewer lists and maps")
config("two thousand million layers", changed(CONFIG, "num_hidden_layers", 2**31 - 1), "layers")
config("huge width", changed(CONFIG, "hidden_size", 2**31 - 2), "hidden_size")
config("huge vocabulary", changed(CONFIG, "vocab_size", 2**62), "vocab_size")
config("text where a number belongs", changed(CONFIG, "hidden_size", "wide"), "hidden_size")
config("heads that do not divide", changed(CONFIG, "num_attention_heads", 3), "num_attention_heads")
config("unknown type", changed(CONFIG, "model_type", "\x1b[31mred"), "model_type")
case("config of a giant beside small weights", model(config__json=CONFIG | {"hidden_size": 1 << 16, "intermediate_size": 1 << 20}), GENERATE,
     "model")


def tokens(name, content, *says, **more):
    case(f"tokenizer {name}", model(tokenizer__json=content), ENCODE, "model/tokenizer.json", *says, **more)


T = tokenizer()
tokens("empty", b"", "not JSON")
tokens("truncated", json.dumps(T)[:900], "not JSON")
tokens("nested a million deep", many(b"[", DEEP), "nested deeper")
tokens("gigabyte string", sparse(b'{"version": "', GIGABYTE), "longer than")
tokens("20 MB string", many(b"x", 20 * MB, b'{"version": "', b'"}'), "", memory=PLAIN + 80 * MB)
tokens("invalid UTF-8", json.dumps(T).encode().replace(b"the", b"\xc3(e"), "not JSON")
tokens("merge that does not exist", changed(T, "model", "merges", ["t h", "q z"]), "merge 1", '"qz"')
tokens("merge of tokens that do not exist", changed(T, "model", "merges", ["t h", "zz e"]), "merge 1", '"zz"')
tokens("merge of one token", changed(T, "model", "merges", ["th"]), "merge 0")
tokens("merge twice", changed(T, "model", "merges", ["t h", "t h"]), "merge 1 repeats merge 0")
tokens("two tokens with one id", changed(T, "model", "vocab", "th", 5), "both have id 5")
tokens("id beyond the vocabulary", changed(T, "model", "vocab", "the", 4000000000), "id 4000000000")
tokens("negative id", changed(T, "model", "vocab", "the", -1), "id -1")
tokens("no bytes", changed(T, "model", "vocab", {"a": 0}), "token")
tokens("list for a vocabulary", changed(T, "model", "vocab", []), "model.vocab")
tokens("pattern that does not end", changed(T, "pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a"}}), "byte 2")
tokens("pattern of a thousand alphabets", changed(T, "pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(?i:[" + "\\x{0}-\\x{fff0}" * 1000 + "])"}}),
       "too large")
tokens("pattern nested deep", changed(T, "pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(" * 1000}}), "nested too deep")
tokens("a hundred thousand pre-tokenizers", many(b'{"type":"Digits"},', 100000, b'{"model":{"type":"BPE","merges":[],"vocab":{"a":0}},"pre_tokenizer":'
       b'{"type":"Sequence","pretokenizers":[', b'{"type":"Digits"}]}}'), "more than 64 steps", memory=PLAIN + 48 * MB)
tokens("mark of a kilobyte", changed(T, "pre_tokenizer", {"type": "Metaspace", "replacement": "x" * 1000}), "expected a character")
tokens("broken map of characters", changed(T, "normalizer", {"type": "Precompiled", "precompiled_charsmap": "/////w=="}), "map of characters")
case("tokenizer normalizer that doubles text forty times", model(tokenizer__json=changed(T, "normalizer", {"type": "Sequence", "normalizers": [
     {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}] * 40})), ENCODE, "normalizer makes more than")
case("tokenizer pattern that tries everything", model(tokenizer__json=changed(T, "pre_tokenizer", {"type": "Sequence", "pretokenizers": [
     {"type": "Split", "pattern": {"Regex": "(a|aa)?" * 40 + "b"}}, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]})), ["tokenizer", "encode", "model", "a" * 2000], "takes too long")


def field(number, content):
    """A field of a protocol buffer: a number or bytes."""
    def varint(n):
        return bytes([n & 127 | 128]) + varint(n >> 7) if n > 127 else bytes([n])
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def pieces(name, content, *says, **more):
    case(f"sentencepiece {name}", model(tokenizer__json=None, tokenizer__model=content), ENCODE, "model/tokenizer.model", *says, **more)


UNKNOWN = field(1, field(1, b"<unk>") + field(3, 2))
TYPE = field(2, field(3, 2))
pieces("empty", b"", "no pieces")
pieces("truncated", (UNKNOWN + TYPE)[:5], "byte")
pieces("length beyond the file", b"\x0a\xff\xff\xff\xff\x0f", "byte")
pieces("invalid UTF-8", UNKNOWN + field(1, field(1, b"\xff")) + TYPE, "piece 1")
pieces("the same piece twice", UNKNOWN + field(1, field(1, b"a")) * 2 + TYPE, "the same")
pieces("two for the unknown", UNKNOWN + field(1, field(1, b"b") + field(3, 2)) + TYPE, "unknown")
pieces("unknown kind", UNKNOWN + field(2, field(3, 9)), "model_type is 9")
pieces("piece of a megabyte", UNKNOWN + field(1, field(1, b"a" * MB)) + TYPE, "at most 512")
pieces("broken map of characters", UNKNOWN + TYPE + field(3, field(2, b"\xff\xff\xff\xff")), "map of characters")
pieces("gigabyte of nothing", sparse(UNKNOWN, GIGABYTE), "longer than")
case("tokenizer larger than the model", model(config__json=changed(CONFIG, "vocab_size", 100), model__safetensors=pack(header(changed(SHAPES,
     "model.embed_tokens.weight", [100, 8])))), GENERATE, "model/tokenizer.json", "259")

RECIPE = "model: {kind: lm, hidden_size: 8, num_layers: 1, mixer: {kind: attention, num_heads: 2}, ffn: {kind: dense, intermediate_size: 8}}\n" \
    "data: {path: texts, cache_dir: cache, tokenizer: {kind: bpe, vocab_size: 257}, context: 4}\ntrain: {steps: 1, batch: 1, optimizer: {kind: sgd}}\n"
TEXT = {"texts/a.txt": "some text\n" * 100}


def recipe(name, content, *says, **more):
    case(f"recipe {name}", {"bad.yaml": content, **TEXT}, ["train", "bad.yaml", "-o", "run"], "bad.yaml", *says, **more)


recipe("empty", "", "expected a map")
recipe("truncated", RECIPE[:40], "bad.yaml:")
recipe("nested a million deep", many(b"[", DEEP), "bad.yaml:1", "nested deeper than 64")
recipe("maps nested a million deep", many(b"{a: ", DEEP), "bad.yaml:1", "nested deeper than 64")
recipe("list dashes nested deep", many(b"- ", 100000, end=b"x"), "bad.yaml:1", "nested deeper than 64")
recipe("gigabyte string", sparse(b"model: '", GIGABYTE), "too long for a configuration", memory=PLAIN + 16 * MB)
recipe("10 MB string", many(b"x", 10 * MB, b"model: '", b"'\n"), "bad.yaml", memory=PLAIN + 120 * MB)
recipe("invalid UTF-8", b"model: {kind: \xff}\n", "bad.yaml:1", "UTF-8")
recipe("NUL", b"model: {kind: l\0m}\n", "bad.yaml:1", "NUL")
recipe("billion laughs", "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "bad.yaml:1", "anchor")
recipe("far number", RECIPE.replace("steps: 1", "steps: 1e300"), "bad.yaml:3", "train.steps")
recipe("far layer", RECIPE.replace("ffn:", "layers: [{at: 9223372036854775807}], ffn:"), "bad.yaml:1", "9223372036854775807")
case("recipe far beyond memory", {"bad.yaml": RECIPE.replace("hidden_size: 8", "hidden_size: 1000000"), **TEXT}, ["train", "bad.yaml"], "GB",
     keeps=["cache"])  # of a corpus that is fine


def corpus(name, file, content, *says, **more):
    case(f"corpus {name}", {"good.yaml": RECIPE, f"texts/{file}": content}, ["train", "good.yaml", "-o", "run"], f"texts/{file}", *says, **more)



packed = gzip.compress(b"some text\n" * 1000)
corpus("invalid UTF-8", "a.txt", b"fine\n\xc3\x28\n", "invalid UTF-8 at byte 5")
corpus("gzip cut off", "a.txt.gz", packed[:-20], "cut off")
corpus("gzip that is none", "a.txt.gz", b"plain text\n" * 10, "not gzip")
corpus("gzip with a broken middle", "a.txt.gz", packed[:20] + b"\xff" * 8 + packed[28:], "broken gzip data")
corpus("zstd that is none", "a.txt.zst", b"plain text\n" * 10, "zstd")
corpus("zstd that asks for a window of 2 GB", "a.txt.zst", bytes.fromhex("28b52ffd00a8") + b"\x01\x00\x00", "zstd")
corpus("row that is no JSON", "a.jsonl", '{"text": "one"}\nnonsense\n', "a.jsonl:2")
corpus("row without text", "a.jsonl", '{"text": "one"}\n{"txet": "two"}\n', "a.jsonl:2", "no field 'text'")
corpus("row nested a million deep", "a.jsonl", many(b"[", DEEP), "a.jsonl:1", "nested deeper")
corpus("row of a gigabyte", "a.jsonl", sparse(b'{"text": "', GIGABYTE), "a.jsonl:1", "longer than", memory=PLAIN + 256 * MB)


def route(name, content, *says, **more):
    case(f"route {name}", {"in.json": content}, ["route", "--router", "{kind: top_k, top_k: 2}", "in.json"], "in.json", *says, **more)


route("empty", b"", "not JSON")
route("truncated", b'{"logits": [[1, 2', "not JSON")
route("nested a million deep", many(b"[", DEEP), "nested deeper")
route("gigabyte string", sparse(b'{"logits": "', GIGABYTE), "longer than")
route("invalid UTF-8", b'{"logits": [[1, "\xff"]]}', "not JSON")
route("NaN", b'{"logits": [[1, NaN, 2]]}', "logits[0][1]")
route("ragged", b'{"logits": [[1, 2], [3]]}', "logits[1]")
route("lengths that overflow", b'{"logits": [[1, 2]], "sequences": [2147483647, 2147483647]}', "sequences")


def task(name, content, *says, file="in.jsonl", **more):
    case(f"task {name}", {**model(), file: content}, ["eval", "model", "--task", file], file, *says, **more)


QUESTION = b'{"query": "q", "choices": ["a", "b"], "gold": 0}\n'
task("empty", b"", "no row")
task("truncated", QUESTION + QUESTION[:30], "in.jsonl:2", "not a JSON object")
task("nested a million deep", QUESTION + b"[" * DEEP, "in.jsonl:2", "nested deeper")
task("nothing but maps", b"[" + b"{}," * MB + b"{}]", "in.jsonl:1", "in memory")
task("gigabyte string", sparse(b'{"query": "', GIGABYTE), "longer than")
task("invalid UTF-8", b'{"query": "\xff", "choices": ["a", "b"], "gold": 0}\n', "in.jsonl:1", "0xff")
task("gold beyond the choices", QUESTION.replace(b"0}", b"9223372036854775807}"), "in.jsonl:1", "expected 0 to 1")
task("gzip cut off", gzip.compress(QUESTION * 1000)[:-20], "cut off", file="in.jsonl.gz")
task("gigabyte in a megabyte", gzip.compress(bytes(GIGABYTE // 2)), "times its size", file="in.jsonl.gz", memory=PLAIN + 256 * MB)


def tar_member(name, size, content=b""):
    """A header of a tar archive and what follows it, which may be less than the header says."""
    header = bytearray(512)
    header[0:len(name)] = name
    header[124:136] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[156:157], header[257:263] = b"0", b"ustar\0"
    header[148:155] = b"%06o\0" % sum(header)
    return bytes(header) + content


task("csv with a quote that nothing closes", b'q,x,y,A\n"' + b"q,x\n" * 1000, "in.csv:2", "nothing closes", file="in.csv")
task("csv with a million fields", many(b"q,", MB), "in.csv:1", "more than 28 fields", file="in.csv")
task("csv with rows of eight bytes", many(b"q,a,b,A\n", MB // 8, end=b"q,a,b,C\n"), "no letter from A to B", file="in.csv", memory=PLAIN + 64 * MB)
task("csv with zero bytes", b"q,x,y,A\nq,\0,y,A\n", "in.csv:2", "zero bytes", file="in.csv")
task("json without examples", b'{"examples": 3}', "'examples' is a whole number", file="in.json")
task("json nested a million deep", many(b"[", DEEP), "nested deeper", file="in.json")
task("tar cut off", tar_member(b"a.jsonl", 3 * len(QUESTION), QUESTION), "inside a member", file="in.tar")
task("tar with a member of gigabytes", tar_member(b"a.jsonl", 6 * GIGABYTE), "longer than 256 MiB", file="in.tar")
task("tar with text for a header", b"words " * 200, "no header", file="in.tar")
task("tar with nothing to read", tar_member(b"a.txt", 5, b"words" + bytes(507)) + bytes(1024), "no task file", file="in.tar")
task("tar of gigabytes in a megabyte", gzip.compress(tar_member(b"a.txt", GIGABYTE // 2)) + gzip.compress(bytes(GIGABYTE // 2)), "times its size", file="in.tar.gz")


# ---- running ----

def run(command):
    """Exit code, stdout, stderr and peak memory in bytes."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "XDG_CACHE_HOME": os.path.join(work, "home")}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen([coterie, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return child.returncode, out.read(), err.read(), usage.ru_maxrss * 1024


def listing():
    return sorted((path, name, os.lstat(os.path.join(path, name)).st_mtime_ns) for path, folders, files in os.walk(".") for name in files + folders)


def problems(name, files, command, says, memory, keeps, own):
    for path, content in files.items():
        put(path, content)
    before = listing()
    code, out, err, peak = run(command)
    lines = err.decode("utf-8", "replace").splitlines()
    if code != 1:
        yield f"exit code {code}, expected 1"
    if out:
        yield f"{len(out)} bytes on stdout, expected none"
    if len(lines) != 1:
        yield f"{len(lines)} lines on stderr, expected one"
    for text in says:
        if text not in "".join(lines):
            yield f"the message lacks {text!r}"
    for path in keeps:
        shutil.rmtree(path, ignore_errors=True)
    if listing() != before:
        yield "something was written: " + ", ".join(str(x[:2]) for x in set(listing()) ^ set(before))
    if peak > own + memory:
        yield f"{(peak - own) / MB:.0f} MB of memory, expected at most {memory / MB:.0f}"
    if "-v" in sys.argv:
        print(f"{name}: {(peak - own) / MB:.0f} MB: {lines[0] if lines else ''}")
    if lines:
        yield "stderr: " + lines[0]  # told only with another problem


def main():
    names = [word for word in wanted if word != "-v"]
    failed = count = 0
    os.chdir(work)
    for path, content in model().items():
        put(path, content)
    code, _, err, _ = run(GENERATE)
    if code != 0:
        sys.exit(f"the model that is fine does not run: {err.decode()}")
    own = run(["--version"])[3]
    if own > 32 * MB:
        sys.exit(f"this test itself takes {own / MB:.0f} MB; it would measure nothing")
    for name, files, command, says, memory, keeps in cases:
        if names and not any(word in name for word in names):
            continue
        folder = os.path.join(work, str(count))
        os.mkdir(folder)
        os.chdir(folder)
        found = list(problems(name, files, command, says, memory, keeps, own))
        if any(not problem.startswith("stderr: ") for problem in found):
            print(f"FAILED: {name}: " + "; ".join(found))
            failed += 1
        os.chdir(work)
        shutil.rmtree(folder)
        count += 1
    print(f"{count - failed} of {count} hostile files refused as they should")
    sys.exit(failed > 0)


try:
    main()
finally:
    os.chdir("/")
    shutil.rmtree(work)
