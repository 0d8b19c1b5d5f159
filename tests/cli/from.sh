#!/usr/bin/env bash
# coterie train --from: a model is trained on, as it is or with parts of it frozen.
set -eu
source "$2/tests/cli/helpers.bash"
make_corpus
mkdir other && cp texts/code.txt other/
expect 0 train tiny.yaml -q --out base
sed -e 's/hidden_size: 16/hidden_size: 32/' -e 's/path: texts/path: other/' -e 's/vocab_size: 300/vocab_size: 290/' -e 's/steps: 40/steps: 12/' tiny.yaml >on.yaml

# Model and tokenizer are the folder's, whatever the recipe says about them; the rest is the recipe's.
expect 0 train on.yaml --from base --dry-run
out_has "from       base"
out_has "layers of width 16, 300 symbols"
out_has "12 steps"
expect 0 train on.yaml --from base --out on -q --set train.save_every=5
cmp on/tokenizer.json base/tokenizer.json || fail "another tokenizer"
! cmp -s on/model.safetensors base/model.safetensors || fail "nothing was learnt"
grep -Eq "^from: ['\"]?base" on/recipe.yaml || fail "recipe.yaml does not say where the run started"

# One that is broken off goes on without the model it started from.
cp -r base moved && expect 0 train on.yaml --from moved --out again -q --set train.save_every=5 --set train.steps=7 && rm -r moved
expect 0 train --resume again -q --set train.steps=12
cmp on/model.safetensors again/model.safetensors || fail "a resumed run ends elsewhere"

# Frozen, in the published names of the file: only what is trained changes. The rest has another rate.
expect 0 train on.yaml --from base --out frozen -q --set "train.freeze=['*', '!layers.1.*']" --set "train.optimizer.groups=[{match: '*.router.*', lr_scale: 0}]"
python3 - base/model.safetensors frozen/model.safetensors <<'PYTHON'
import json, struct, sys
def tensors(path):
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    return {name: data[8 + size + h["data_offsets"][0]:8 + size + h["data_offsets"][1]] for name, h in header.items() if name != "__metadata__"}
before, after = map(tensors, sys.argv[1:3])
changed = {name for name in before if before[name] != after[name]}
assert before.keys() == after.keys()
want = {name for name in before if ".layers.1." in name and not name.endswith("mlp.gate.weight") and "block_sparse_moe.gate" not in name}
assert changed == want, (changed ^ want)
PYTHON
expect 0 train on.yaml --from base --dry-run --set "train.freeze=['*', '!layers.1.*']"
out_has "frozen     all but"

# What is changed of the architecture must still take the weights.
expect 0 train on.yaml --from base --dry-run --set model.dropout=0.1 --set model.layers.0.ffn.balance.0.coef=0.02
refuses "tensor '" train on.yaml --from base --set model.hidden_size=32 --out bad
refuses "holds a run already" train on.yaml --from base --out base
refuses "'absent': no such folder" train on.yaml --from absent --out bad
refuses "is the name of no parameter" train on.yaml --from base --out bad --set "train.freeze=[nothing]"
refuses "starts from a model: see coterie info base" info on/recipe.yaml
[ ! -e bad ] || fail "something was written"
mkdir plain && cp base/*.json base/model.safetensors plain/ && rm plain/trainer.json
refuses "plain holds a model already: choose another folder" train on.yaml --from plain --out plain
expect 0 train on.yaml --from plain --out from-plain -q --set train.steps=2
expect 2 train --resume on --from base
echo "a model is trained on as it should"
