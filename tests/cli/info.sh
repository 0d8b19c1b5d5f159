#!/usr/bin/env bash
# coterie info: models and recipes, in words and as JSON.
set -eu
source "$2/tests/cli/helpers.bash"
make_corpus
expect 0 train tiny.yaml -q --out run

expect 0 info tiny.yaml --json
cp out recipe.json
expect 0 info run --json
python3 - recipe.json out <<'PYTHON'
import json, sys
recipe, run = (json.load(open(path)) for path in sys.argv[1:])
assert recipe["published_as"] == run["published_as"] == "coterie"
for i in recipe, run:
    # By hand: attention 4 D^2, dense 3 D F, router D E, experts 3 D F each, norms.
    D, V, E, layers = 16, 300, 4, [16 * 64 + 3 * 16 * 24 + 32, 16 * 64 + 16 * 4 + 4 * 3 * 16 * 12 + 32]
    total = V * D + sum(layers) + D
    assert i["parameters"] == {"total": total, "active": total - 2 * 3 * 16 * 12}, i["parameters"]
    forward = 2 * (2 * 16 * 64 + 4 * 16 * 8.5) + 2 * 3 * 16 * 24 + 2 * 16 * 4 + 2 * 2 * 3 * 16 * 12 + 2 * 16 * 300
    assert i["flops_per_token"] == {"forward": forward, "training": 3 * forward}, (i["flops_per_token"], forward)
    assert i["bytes"]["training"] == 16 * total and i["bytes"]["serving"] == 4 * total + 2 * 2 * 16 * 16 * 4
    assert i["context"] == 16 and i["vocab_size"] == V and i["hidden_size"] == D and i["num_layers"] == 2 and i["sparse_layers"] == 1
    assert [l["experts"] for l in i["layers"]] == [0, E]
PYTHON
expect 0 info run
out_has "layer 0       attention with 2 heads of 8; dense SwiGLU of 24"
out_has "layer 1       attention with 2 heads of 8; 4 experts of 12, 2 per token (top_k router)"
out_has "10.4k in all, 9.30k active for a token"
out_has "per token at a context of 16"
expect 0 info run --context 1000
out_has "per token at a context of 1000"
expect 0 info run --parameters
out_has "layers.1.ffn.experts.gate_up"
out_has "4 x 24 x 16"
expect 0 info tiny.yaml --set model.hidden_size=32 --set 'model.layers=[]' --json
python3 -c 'import json; i = json.load(open("out")); assert i["hidden_size"] == 32 and i["published_as"] == "llama" and i["parameters"]["total"] == i["parameters"]["active"]'
expect 0 info tiny.yaml --set 'model.layers.0.at="::"' --set 'model.layers.0.ffn.balance=[]' --json
python3 -c 'import json; assert json.load(open("out"))["published_as"] == "mixtral"'
expect 0 info tiny.yaml --set 'model.layers.0.at="::"' --set 'model.layers.0.ffn.balance=[]'
out_has "files         will be 'mixtral' (MixtralForCausalLM)"
out_has "not 'llama': it has experts"
expect 0 info run
out_has "files         are 'coterie' (CoterieForCausalLM)"
out_has "not 'mixtral': it has dense layers between sparse ones"
expect 0 info "$source_dir/tests/data/models/olmoe"
out_has "files         are 'olmoe' (OlmoeForCausalLM)"
out_has "not 'qwen3_moe': it has no norms of q and k for each head"
for recipe in default $(cd "$source_dir/recipes" && ls | sed 's/\.yaml$//'); do expect 0 info "$recipe"; done

refuses "'absent' is neither a file nor a recipe" info absent
refuses "'texts' is no model: it has no config.json" info texts
refuses "--set: model.hidden_size is 'wide', expected a whole number" info tiny.yaml --set model.hidden_size=wide
refuses "model.mixer.num_heads asks for 3 heads, expected a divisor of hidden_size, 16" info tiny.yaml --set model.mixer.num_heads=3
echo '{"model_type": "gpt2"}' >run/config.json
refuses "run/config.json': model_type is 'gpt2', expected one of: " info run
echo '{' >run/config.json
refuses "run/config.json" info run
printf 'data: {path: texts}\n' >half.yaml
refuses "half.yaml" info half.yaml
expect 2 info
echo "models are described as they are"
