#!/usr/bin/env bash
# Completion: what the program offers, and what bash and zsh make of it under somebody's fingers.
set -eu
source "$2/tests/cli/helpers.bash"
source_dir=$2
unset COTERIE_RECIPES

# offers WORDS... => CANDIDATES...: exactly these for the last word.
offers() {
    local words=()
    while [ "$1" != "=>" ]; do words+=("$1"); shift; done
    shift
    "$coterie" --complete "${words[@]}" >out 2>err || fail "coterie --complete ${words[*]}"
    [ ! -s err ] || fail "completing ${words[*]} prints errors"
    diff <(cut -f1 out) <([ $# = 0 ] || printf '%s\n' "$@") || fail "other candidates for: ${words[*]}"
}
# has CANDIDATE WORDS...: among others.
has() {
    local want=$1
    shift
    "$coterie" --complete "$@" >out 2>err || fail "coterie --complete $*"
    cut -f1 out | grep -qxF -- "$want" || fail "no $want for: $*"
}

offers tr '=>' train
offers --threads 2 tr '=>' train
offers -q tr '=>' train
offers xx '' '=>'
offers help tok '=>' tokenizer
offers help tokenizer enc '=>' encode
offers tokenizer enc '=>' encode
offers tokenizer encode '' '=>' :files
offers eval '' '=>' :folders
offers eval --stri '=>' --stride
offers eval --split '' '=>' valid train
offers eval --split=v '=>' --split=valid
offers eval -- --stri '=>' :folders
offers generate runs/x '' '=>'
offers train --out '' '=>' :folders
offers train -o '' '=>' :folders
offers list routers noisy '=>' noisy_top_k
offers list recipes default- '=>' default-dense
has wikitext-2 train ''
has :files train ''
has '{kind: switch}' route --router ''

# What recipes say, place by place: kinds from the recipe, from --set before, or all of them.
offers train --set mod '=>' model.
offers train --set model.ffn.router.kind=noi '=>' model.ffn.router.kind=noisy_top_k
offers train --set=train.optimizer.kind=adam '=>' --set=train.optimizer.kind=adamw
offers train --set train.optimizer.momentu '=>' train.optimizer.momentum=
offers train --set train.optimizer.kind=adamw --set train.optimizer.mom '=>'
offers train default-dense --set model.ffn.int '=>' model.ffn.intermediate_size=
offers train --set model.ffn.balance. '=>' model.ffn.balance.0.
offers train --set model.ffn.balance.0.cho '=>' model.ffn.balance.0.choices=
offers train --set model.ffn.balance.0.choices= '=>' model.ffn.balance.0.choices=first model.ffn.balance.0.choices=all
offers train --set train.recompute=t '=>' train.recompute=true
offers train --set train.nothing. '=>'
offers train --set "$(printf 'model.%.0s' {1..300})" '=>'

# Every key that a recipe may have is offered where it belongs.
python3 - "$coterie" <<'PYTHON'
import json, subprocess, sys
program = sys.argv[1]
run = lambda *words: subprocess.check_output([program, *words], text=True)
families = {f["name"]: f for f in json.loads(run("list", "--json"))["families"]}
at = {"models": "model", "mixers": "model.mixer", "feed_forwards": "model.ffn", "optimizers": "train.optimizer",
      "schedules": "train.schedule", "objectives": "train.objective", "data": "data", "routers": "model.ffn.router",
      "experts": "model.ffn.experts"}
for family, place in at.items():
    for member in families[family]["members"]:
        words = ["--complete", "train", "--set", f"{place}.kind={member['name']}", "--set", place + "."]
        offered = {line.split("\t")[0] for line in run(*words).splitlines()}
        for option in member["options"]:
            key = f"{place}.{option['name']}"
            assert key + "=" in offered or key + "." in offered, (key, member["name"])
PYTHON

# In the shells themselves.
touch 'a file' && mkdir runs
types() {
    local shell=$1 file=$2
    shift 2
    command -v "$shell" >/dev/null || { echo "no $shell here"; return; }
    python3 "$source_dir/tests/cli/type_into.py" "$shell" "$coterie" "$source_dir/apps/completion/$file" \
        'coterie tr\t' 'coterie train --set train.optimizer.ki\t' 'coterie train --set train.batch=\t' 'coterie plot --what=cu\t' \
        'coterie route --router \tnoi\t' 'coterie route --router "{kind: noi\t' 'coterie eval ru\t' 'coterie tokenizer show a\t' >out
    cat >want <<'END'
coterie train 
coterie train --set train.optimizer.kind=
coterie train --set train.batch=16 
coterie plot --what=curve 
coterie route --router \{kind:\ noisy_top_k\} 
coterie route --router "{kind: noisy_top_k}" 
coterie eval runs/
coterie tokenizer show a\ file 
END
    diff want out || fail "$shell completes otherwise"
}
types bash coterie.bash
types zsh _coterie
echo "completion fits"
