#!/usr/bin/env bash
# coterie eval: scores and expert use as text and as JSON, another text, logits of token sequences, and what it refuses.
set -eu
source "$2/tests/cli/helpers.bash"
make_corpus
expect 0 train tiny.yaml -q --out run

# ---- the run's own validation text ----

expect 0 eval run --json
[ ! -s err ] || fail "--json speaks on stderr"
cmp <(python3 -m json.tool out) <(python3 -m json.tool run/eval.json) || fail "eval.json is not what was printed"
[ -z "$(find run -name '*.partial')" ] || fail "partial files are left"
cp out first
cat >check.py <<'PYTHON'
import json, math, sys
e = json.load(open(sys.argv[1]))
score = {"loss", "perplexity", "word_perplexity", "bits_per_byte", "tokens", "bytes"}
assert score | {"sources", "layers", "window", "stride"} <= set(e), e.keys()
names = [s["name"] for s in e["sources"]]
for s in [e] + e["sources"]:
    assert score <= set(s), s.keys()
    if s["tokens"] == 0: continue
    assert abs(s["perplexity"] - math.exp(s["loss"])) < 1e-9 * s["perplexity"]
    assert abs(s["bits_per_byte"] - s["loss"] * s["tokens"] / math.log(2) / s["bytes"]) < 1e-9
for key in "tokens", "bytes":
    assert e[key] == sum(s[key] for s in e["sources"]) and isinstance(e[key], int)
assert abs(e["loss"] * e["tokens"] - sum(s["loss"] * s["tokens"] for s in e["sources"])) < 1e-6
assert e["loss"] < 5
[layer] = e["layers"]
assert {"load", "cv2", "max_vio", "router_entropy", "drop_fraction"} <= set(layer) and layer["layer"] == 1
assert len(layer["load"]) == 4 and abs(sum(layer["load"]) - 1) < 1e-9
assert abs(layer["max_vio"] - (4 * max(layer["load"]) - 1)) < 1e-9
assert abs(layer["cv2"] - sum((4 * x - 1) ** 2 for x in layer["load"]) / 4) < 1e-9
assert 0 < layer["router_entropy"] <= math.log(4) + 1e-9 and layer["drop_fraction"] == 0
for s in e["sources"]:
    assert s["layers"][0]["layer"] == 1 and abs(sum(s["layers"][0]["load"]) - 1) < 1e-9
    assert len(s["layers"][0]["load"]) == 4
want = dict(a.split("=") for a in sys.argv[2:])
assert e["window"] == int(want["window"]) and e["stride"] == int(want["stride"]) and ",".join(names) == want["names"], (e["window"], e["stride"], names)
orders = e.get("yardstick", {}).get("orders", [])
assert [o["order"] for o in orders] == ([1, 2, 3, 4, 5] if want["yardstick"] == "yes" else [])
assert all(abs(o["bits_per_byte"] - o["loss"] * e["tokens"] / math.log(2) / e["bytes"]) < 1e-9 for o in orders)
PYTHON
python3 check.py out window=16 stride=8 names=code,sailor yardstick=yes
expect 0 eval run --json --threads 2
cmp out first || fail "the number of threads shows"
expect 0 eval run/best --json --no-yardstick --window 12 --stride 3
python3 check.py out window=12 stride=3 names=code,sailor yardstick=no

expect 0 eval run
for text in "source " "bits per byte" "window 16, stride 8" "yardstick:" "order 5" "this model" "layer 1:" "code " "sailor "; do out_has "$text"; done
expect 0 eval run --split train --max-tokens 100 --json
python3 -c 'import json; e = json.load(open("out")); assert all(100 <= s["tokens"] < 116 for s in e["sources"])'
cmp <(python3 -m json.tool first) <(python3 -m json.tool run/eval.json) || fail "another evaluation than the whole validation text was kept"

# ---- another text; quotes and hashes in its name are nothing but its name ----

mkdir "it's \"#1\""
head -n 30 texts/sailor.txt >"it's \"#1\"/a \$b: c.txt"
expect 0 eval run --data "it's \"#1\"" --json --no-yardstick
python3 check.py out window=16 stride=8 "names=a \$b: c" yardstick=no
expect 0 eval run --data "it's \"#1\"/a \$b: c.txt" --json
python3 check.py out window=16 stride=8 "names=a \$b: c" yardstick=yes
mv texts texts-gone  # the yardstick's training text is missing: the model can be measured all the same
expect 0 eval run --data texts-gone/code.txt --json
err_has "no yardstick: texts: No such file"
python3 check.py out window=16 stride=8 names=code yardstick=no
refuses "texts: No such file" eval run
mv texts-gone texts
# A model folder without a run around it.
mkdir alone && cp run/config.json run/model.safetensors run/tokenizer*.json alone/
XDG_CACHE_HOME=$work/own-cache expect 0 eval alone --data texts/code.txt --json
python3 check.py out window=16 stride=8 names=code yardstick=no
[ ! -e alone/eval.json ] || fail "eval.json in a folder that is no run"
refuses "alone has no recipe.yaml that names its corpus: say what to score with --data PATH" eval alone

# ---- product keys: a histogram and a grid of use, and its picture ----

sed 's/router: .*/router: {kind: product_key, heads: 2, top_k: 2, query_dim: 8}/; s/experts: .*/experts: {kind: neuron, num_experts: 36}/; /balance:/d' tiny.yaml >keys.yaml
expect 0 train keys.yaml -q --out keys
expect 0 eval keys --no-yardstick --json
python3 - <<'PYTHON'
import json
e = json.load(open("out"))
[layer] = e["layers"]
grid = layer["key_grid"]
use = [x for row in grid["use"] for x in row]
assert grid["sub_keys"] == 6 and grid["bin"] == 1 and [len(row) for row in grid["use"]] == [6] * 6
assert sum(use) == 4 * e["tokens"] and all(abs(x - l * sum(use)) < 1e-6 for x, l in zip(use, layer["load"]))
histogram = [0] * (max(use).bit_length() + 1)
for x in use: histogram[x.bit_length()] += 1
assert layer["use_histogram"] == histogram, (layer["use_histogram"], histogram)
steps = [json.loads(line) for line in open("keys/metrics.jsonl")]
assert all(sum(l["use_histogram"]) == 36 for s in steps for l in s.get("layers", []))
PYTHON
expect 0 eval keys --no-yardstick
out_has "times used"
if command -v gnuplot >/dev/null; then
    expect 0 plot keys --what keys --keep-script
    [ -s keys/keys.png ] && grep -q "layer 1: 6 × 6 experts" keys/keys.gp || fail "no picture of the product keys"
fi

# ---- logits of a token sequence ----

echo '[5, 17, 299, 0, 44]' >ids.json
expect 0 eval run --tokens ids.json --logits logits.safetensors
[ ! -s out ] && [ ! -s err ] || fail "--logits speaks"
python3 - <<'PYTHON'
import json, math, struct
data = open("logits.safetensors", "rb").read()
size = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + size])
tensor = header["logits"]
assert tensor["dtype"] == "F32" and tensor["shape"] == [5, 300], tensor
begin, end = tensor["data_offsets"]
assert end - begin == 5 * 300 * 4 and 8 + size + end == len(data)
values = struct.unpack("<1500f", data[8 + size + begin:])
assert all(map(math.isfinite, values)) and len(set(values)) > 1000
PYTHON
cp logits.safetensors kept
echo '[5, 17, 300]' >wrong.json
refuses "300" eval run --tokens wrong.json --logits logits.safetensors
echo '[5, "x"]' >wrong.json
refuses "wrong.json" eval run --tokens wrong.json --logits logits.safetensors
echo '[]' >wrong.json
refuses "wrong.json" eval run --tokens wrong.json --logits logits.safetensors
echo '{oops' >wrong.json
refuses "wrong.json" eval run --tokens wrong.json --logits logits.safetensors
refuses "absent.json" eval run --tokens absent.json --logits logits.safetensors
refuses "absent/logits" eval run --tokens ids.json --logits absent/logits
cmp logits.safetensors kept || fail "a failure overwrites logits"
expect 2 eval run --tokens ids.json
err_has "--tokens and --logits go together"

# ---- what cannot be scored ----

refuses "'absent': no such folder; expected one with a model" eval absent
refuses "'texts' is no model: it has no config.json" eval texts
refuses "nowhere.txt: No such file" eval run --data nowhere.txt --no-yardstick
printf 'a\n\377b' >invalid.txt
refuses "invalid.txt: invalid UTF-8 at byte 2 (0xff)" eval run --data invalid.txt --no-yardstick
: >empty.txt
refuses "empty.txt" eval run --data empty.txt --no-yardstick
refuses "stride of 20 tokens, expected 1 to the window, 16" eval run --stride 20
head -c 1000 run/model.safetensors >alone/model.safetensors
refuses "alone/model.safetensors" eval alone --data texts/code.txt
rm alone/model.safetensors
refuses "alone/model.safetensors" eval alone --data texts/code.txt
expect 2 eval
expect 2 eval run --split test
err_has "--split is 'test', expected one of valid|train"
echo "evaluation measures and refuses as it should"
