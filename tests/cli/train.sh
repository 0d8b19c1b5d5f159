#!/usr/bin/env bash
# coterie train: runs, stops, goes on, survives being killed, and refuses what cannot work.
set -eu
source "$2/tests/cli/helpers.bash"
make_corpus

# ---- a run ----

expect 0 train tiny.yaml --dry-run
out_has "parameters"
out_has "memory"
out_has "FLOPs a token"
out_has "expected"
[ ! -s err ] && [ ! -e runs ] || fail "--dry-run leaves something behind"

expect 0 train tiny.yaml --quiet
[ "$(cat out)" = runs/tiny ] && [ ! -s err ] || fail "--quiet says more than the folder"
expect 0 train tiny.yaml
[ "$(cat out)" = runs/tiny-2 ] || fail "a second run is not numbered"
err_has "validation loss"
for file in model.safetensors config.json generation_config.json tokenizer.json tokenizer_config.json recipe.yaml trainer.json state-40.safetensors best/model.safetensors; do
    cmp runs/tiny/$file runs/tiny-2/$file || fail "$file differs between two runs of the same seed"
done
expect 0 train tiny.yaml --threads 2 --out one -q
cmp runs/tiny/model.safetensors one/model.safetensors || fail "the number of threads shows"
expect 0 train tiny.yaml --set train.seed=4 --out other -q
! cmp -s runs/tiny/model.safetensors other/model.safetensors || fail "another seed gives the same model"
[ -z "$(find . -name '*.partial')" ] || fail "partial files are left"

cp -r runs/tiny before
refuses "runs/tiny holds a run already: go on with --resume runs/tiny" train tiny.yaml --out runs/tiny
diff -r before runs/tiny || fail "a run was touched by another one"

python3 - runs/tiny/metrics.jsonl <<'PYTHON'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
steps = [line for line in lines if "valid" not in line]
valid = [line for line in lines if "valid" in line]
assert [s["step"] for s in steps] == list(range(1, 41))
assert [s["tokens"] for s in steps] == [128 * i for i in range(1, 41)]
for step in steps:
    assert {"step", "tokens", "loss", "lr", "grad_norm", "grad_norm_layers", "tokens_per_s", "layers"} <= set(step)
    assert len(step["grad_norm_layers"]) == 3 and abs(sum(n * n for n in step["grad_norm_layers"]) ** 0.5 / step["grad_norm"] - 1) < 1e-6
    [layer] = step["layers"]
    assert {"layer", "load", "cv2", "max_vio", "router_entropy", "drop_fraction", "dead_experts"} <= set(layer) and layer["layer"] == 1
    load = layer["load"]
    assert len(load) == 4 and abs(sum(load) - 1) < 1e-8 and abs(layer["max_vio"] - (4 * max(load) - 1)) < 1e-8
    assert abs(layer["cv2"] - sum((4 * x - 1) ** 2 for x in load) / 4) < 1e-8
assert steps[-1]["loss"] < steps[0]["loss"] - 1
assert len(valid) == 1 and valid[0]["step"] == 40 and valid[0]["valid"]["loss"] < 5 and valid[0]["valid"]["bits_per_byte"] > 0
PYTHON

# ---- stopping and going on ----

long=(tiny.yaml --set train.steps=200 --set train.eval_every=50 --set model.dropout=0.1)
expect 0 train "${long[@]}" --out whole -q
# Everything but the speed is that of the run that nobody stopped.
same_run() {
    for file in model.safetensors best/model.safetensors state-200.safetensors trainer.json; do
        cmp $1/$file whole/$file || fail "$2: $file is not that of a run never stopped"
    done
    sed 's/"tokens_per_s":[^,]*,//' $1/metrics.jsonl | cmp - <(sed 's/"tokens_per_s":[^,]*,//' whole/metrics.jsonl) || fail "$2: other metrics"
    [ "$(find $1 -name 'state-*' | wc -l)" = 1 ] || fail "$2: old states are left"
}
# In the background bash lets SIGINT be ignored, which a program cannot know; python starts it as a terminal would.
begin() { python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])' "$coterie" "$@" >out 2>err & }
has_steps() { [ "$(wc -l <$1/metrics.jsonl)" -ge "$2" ]; }
for signal in INT TERM; do
    begin train "${long[@]}" --out stopped-$signal
    wait_for 10 has_steps stopped-$signal 3
    kill -$signal $!
    code=0
    wait $! || code=$?
    [ $code = 0 ] || fail "SIG$signal: exit code $code"
    err_has "stopped and saved; go on with: coterie train --resume stopped-$signal"
    ! grep -q '"step": 200' stopped-$signal/trainer.json || fail "SIG$signal was overlooked"
    expect 0 info stopped-$signal
    expect 0 train --resume stopped-$signal
    same_run stopped-$signal SIG$signal
done
expect 0 train --resume whole -q
same_run whole "a resumed run at its end"
# Further than first said.
expect 0 train --resume runs/tiny --set train.steps=45 -q
[ "$(grep -c '"loss"' runs/tiny/metrics.jsonl)" = 47 ] || fail "a run cannot go further"

# Killed again and again, checkpoints after each step so that it hits some of them: what trainer.json names is whole.
begin train "${long[@]}" --set train.save_every=1 --out killed -q
wait_for 10 test -e killed/recipe.yaml
kill -9 $!
wait $! 2>/dev/null || true
for pause in 0.05 0.11 0.17 0.23; do
    begin train --resume killed -q
    wait_for 10 test -e killed/trainer.json
    sleep $pause
    kill -9 $! 2>/dev/null || true
    wait $! 2>/dev/null || true
done
expect 0 train --resume killed --set train.save_every=0 -q
cmp killed/model.safetensors whole/model.safetensors || fail "killed runs go on differently"
[ -z "$(find killed -name '*.partial')" ] || fail "partial files are left"

# A loss that is not finite stops with the place; the last good checkpoint stays, and can be gone on from.
expect 1 train tiny.yaml --set 'train.optimizer={kind: sgd, lr: 100, weight_decay: 10}' --set train.save_every=1 --out wild -q
err_has "coterie: step "
err_has "; the parameters are as before the step"
[ "$(wc -l <err)" = 1 ] && [ -e wild/trainer.json ] && [ -e wild/model.safetensors ] || fail "no checkpoint from before"

# ---- what cannot work: one line, nothing written ----

mkdir elsewhere && cd elsewhere && ln -s ../texts . && ln -s ../cache . && touch out err
ls -A >../listing
nothing_written() { touch bad.yaml && rm bad.yaml && ls -A | diff ../listing - || fail "$*: something was written"; }
# bad LINE SED MESSAGE: the recipe with a change is refused with file, line and message.
bad() {
    sed "$2" ../tiny.yaml >bad.yaml
    refuses "bad.yaml:$1: $3" train bad.yaml
    refuses "bad.yaml:$1: $3" train bad.yaml --dry-run
    nothing_written "$2"
}
bad 3 's/hidden_size/hiden_size/' "model.hiden_size is an unknown key; did you mean 'hidden_size'?"
bad 16 's/steps: 40/stpes: 40/' "train.stpes is an unknown key; did you mean 'steps'?"
bad 19 's/{kind: adamw, lr/{kind: adamw, rl/' "train.optimizer.rl is an unknown key; did you mean 'lr'?"
bad 14 's/context:/contxt:/' "data.contxt is an unknown key; did you mean 'context'?"
bad 15 's/^train:/trian:/' "trian is an unknown key; did you mean 'train'?"
bad 17 's/batch: 8/batch: eight/' "train.batch is 'eight', expected a whole number from 1"
bad 17 's/batch: 8/batch: 2.5/' "train.batch is '2.5', expected a whole number from 1"
bad 17 's/batch: 8/batch: [8]/' "train.batch is a list, expected a whole number from 1"
bad 4 's/num_layers: 2/num_layers: 0/' "model.num_layers is '0', expected a whole number from 1 to"
bad 19 's/lr: 1e-2/lr: -1/' "train.optimizer.lr is '-1', expected a number from 0"
bad 18 's/precision: f32/precision: f16/' "train.precision is 'f16', expected one of auto, f32, bf16"
bad 19 's/adamw/adam/' "train.optimizer.kind is 'adam', no known optimizer; did you mean 'adamw'?"
bad 11 's/kind: top_k/kind: topk/' "model.layers.0.ffn.router.kind is 'topk', no known router; did you mean 'top_k'?"
bad 13 's/coef: 0.01/coef: much/' "model.layers.0.ffn.balance.0.coef is 'much', expected a number from 0"
bad 14 's/vocab_size: 300/vocab_size: 100/' "data.tokenizer.vocab_size is '100', expected a whole number from 257"
bad 5 's/num_heads: 2/num_heads: 3/' "model.mixer.num_heads asks for 3 heads, expected a divisor of hidden_size, 16"
bad 11 's/top_k: 2/top_k: 5/' "model.layers.0.ffn.router.top_k asks router 'top_k' for 5 experts per token, expected at most num_experts = 4"
bad 8 's/at: 1/at: 2/' "model.layers.0.at is '2', expected a layer from 0 to 1"
bad 14 's/context: 16/context: 100000/' "data.context asks for rows of 100000 tokens, but the corpus is too short"
bad 21 's/seed: 3/seed: 3\n  seed: 4/' "key 'seed' is here a second time, first in line 20"
sed 's/^model:/model: [/' ../tiny.yaml >bad.yaml
refuses "bad.yaml:3:14: did not find expected ',' or ']'" train bad.yaml
sed 's/intermediate_size: 12/intermediate_size: 9000000/' ../tiny.yaml >bad.yaml
refuses "GB are free" train bad.yaml
nothing_written "a model that does not fit"

refuses "--set: train.batch is 'x', expected a whole number" train ../tiny.yaml --set train.batch=x
refuses "--set: model.hiden is an unknown key" train ../tiny.yaml --set model.hiden=3
refuses "'nonsense' sets nothing, expected KEY=VALUE" train ../tiny.yaml --set nonsense
refuses "nowhere.txt: No such file" train ../tiny.yaml --set data.path=nowhere.txt
refuses "'absent' is neither a file nor a recipe" train absent
refuses "absent/recipe.yaml" train --resume absent
refuses "texts/recipe.yaml" train --resume texts
mkdir ../texts-bad
: >../texts-bad/empty.txt
refuses "../texts-bad/empty.txt: the corpus is empty" train ../tiny.yaml --set data.path=../texts-bad/empty.txt
printf 'fine\nand then \377\n' >../texts-bad/invalid.txt
refuses "../texts-bad/invalid.txt: invalid UTF-8 at byte 14 (0xff)" train ../tiny.yaml --set data.path=../texts-bad/invalid.txt
printf 'short\n' >../texts-bad/short.txt
refuses "data.context asks for rows of 16 tokens, but the corpus is too short: " train ../tiny.yaml --set data.path=../texts-bad/short.txt
mkdir ../texts-none
refuses "../texts-none: the folder has no files to read" train ../tiny.yaml --set data.path=../texts-none
refuses "cannot make the folder 'out'" train ../tiny.yaml --out out
nothing_written "data"
expect 2 train ../tiny.yaml extra
err_has "unexpected argument 'extra'"
expect 2 train --resume ../whole ../tiny.yaml
err_has "leave '../tiny.yaml' out"
expect 2 train --dryrun
err_has "did you mean '--dry-run'?"
nothing_written "misuse"
echo "training stops, goes on and refuses as it should"
