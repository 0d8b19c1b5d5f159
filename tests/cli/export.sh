#!/usr/bin/env bash
# coterie export: GGUF files hold what the model folder holds, and what has no counterpart is refused.
set -eu
source "$2/tests/cli/helpers.bash"
make_corpus
check() { python3 "$source_dir/tests/cli/check_gguf.py" "$@" || fail "$*: not what the folder holds"; }

# A dense model with grouped heads and its own output matrix, whose down projections (rows of 40) do not divide by 32; and a sparse one.
dense='model.layers=[]'
expect 0 train tiny.yaml -q --out dense --set "$dense" --set model.hidden_size=64 --set model.ffn.intermediate_size=40 --set train.steps=3 \
    --set 'model.mixer={kind: attention, num_heads: 4, num_kv_heads: 2, head_dim: 24, rope_theta: 5000}' --set model.tie_word_embeddings=false
expect 0 train tiny.yaml -q --out sparse --set 'model.layers.0.at="::"' --set model.hidden_size=32 --set model.num_layers=3 --set train.steps=3
for model in dense sparse; do
    for type in f32 f16 bf16 q8_0; do
        expect 0 export $model --type $type -o file.gguf
        out_has "file.gguf: "
        check file.gguf $model $type
    done
done
expect 0 train tiny.yaml -q --out longer --set "$dense" --set train.steps=1 --set 'model.mixer.rope_scaling={rope_type: linear, factor: 3}'
expect 0 export longer --type f32 -o file.gguf
check file.gguf longer f32
expect 0 export sparse -q
[ ! -s out ] || fail "--quiet speaks"
check sparse/model-f16.gguf sparse f16
expect 0 export sparse/ --threads 2 -o other.gguf
cmp other.gguf sparse/model-f16.gguf || fail "the file depends on threads"
grep -aq sparse other.gguf || fail "the model's name is lost"
expect 0 export sparse/best -o other.gguf --name 'a name'
grep -q 'a name' other.gguf || fail "the given name is lost"

# Tokenizers of other libraries: BPE over characters has a counterpart, unigram has none.
tokenizers=$source_dir/tests/data/tokenizers
expect 0 train tiny.yaml -q --out characters --set "$dense" --set train.steps=1 --set "data.tokenizer={path: $tokenizers/bpe.model}"
expect 0 export characters -o other.gguf
grep -aq tokenizer.ggml.scores other.gguf || fail "no scores for the tokenizer"
expect 0 train tiny.yaml -q --out unigram --set "$dense" --set train.steps=1 --set "data.tokenizer={path: $tokenizers/unigram.json}"
refuses "the tokenizer is neither byte-level BPE" export unigram -o file.gguf

# What has no counterpart: one line that says why, and nothing is written.
expect 0 train tiny.yaml -q --out mixed --set train.steps=1
rm -f file.gguf
refuses "no counterpart in GGUF: it has dense layers between sparse ones" export mixed -o file.gguf
expect 0 train tiny.yaml -q --out plain --set 'model.layers.0.at="::"' --set model.layers.0.ffn.router.norm_topk_prob=false --set train.steps=1
refuses "no counterpart in GGUF: it has gates that are probabilities as they are" export plain -o file.gguf
expect 0 train tiny.yaml -q --out window --set "$dense" --set model.mixer.sliding_window=4 --set train.steps=1
refuses "no counterpart in GGUF: it has a sliding window in every layer" export window -o file.gguf
expect 0 train tiny.yaml -q --out dynamic --set "$dense" --set 'model.mixer.rope_scaling={rope_type: dynamic, factor: 3}' --set train.steps=1
refuses "no counterpart in GGUF: it has rotary frequencies that change with the length" export dynamic -o file.gguf
mkdir bare && cp dense/config.json dense/model.safetensors bare/
refuses "has no tokenizer" export bare -o file.gguf
refuses "'absent': no such folder" export absent -o file.gguf
refuses "cannot write 'nowhere/file.gguf'" export dense -o nowhere/file.gguf
refuses "it is a folder" export dense -o texts
expect 2 export dense --type q4_0
expect 2 export
[ ! -e file.gguf ] || fail "a refused model leaves a file"

# A weight that f16 cannot hold: the old file stays as it was, no part of a new one is left.
python3 - dense/model.safetensors <<'PYTHON'
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
(length,) = struct.unpack_from("<Q", data)
entry = json.loads(data[8 : 8 + length])["model.layers.1.mlp.up_proj.weight"]
struct.pack_into("<f", data, 8 + length + entry["data_offsets"][0] + 40, -65520.0)
open(sys.argv[1], "wb").write(data)
PYTHON
echo old >file.gguf
refuses "tensor 'blk.1.ffn_up.weight' holds a number that is not finite in f16" export dense -o file.gguf
[ "$(cat file.gguf)" = old ] || fail "a failed export changes the file"
[ -z "$(find . -name '.*partial')" ] || fail "a failed export leaves a part"
expect 0 export dense --type bf16 -o file.gguf
check file.gguf dense bf16
expect 0 export dense --type q8_0 -o file.gguf
check file.gguf dense q8_0
echo "exports hold what they should"
