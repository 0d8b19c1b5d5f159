#!/usr/bin/env bash
# The recipes that come with the program: each makes a plan, says what it is in its first line, and dense twins cost what
# their sparse models cost.
set -eu
coterie=$1
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/cache OMP_WAIT_POLICY=passive
unset COTERIE_RECIPES
cd "$source"

fail() { echo "FAILED: $*"; exit 1; }

# Word-level text in the manner of WikiText, enough for a row of each split.
for split in train valid; do
    for i in $(seq 60); do printf ' = Heading %s = \n \n The <unk> of %s , and of the %s river @-@ side . \n' "$i" "$split" "$i"; done |
        gzip >"$work/$split.txt.gz"
done

count=0
for path in recipes/*.yaml; do
    name=$(basename "$path" .yaml)
    set -- "$name" --dry-run
    case $name in wikitext*) set -- "$@" --set "data.path=$work/train.txt.gz" --set "data.valid_path=$work/valid.txt.gz" ;; esac
    "$coterie" train "$@" >"$work/out" 2>"$work/err" || { cat "$work/err"; fail "$name has no plan"; }
    for row in model layers data training cost expected; do
        grep -q "^$row  *[^ ]" "$work/out" || { cat "$work/out"; fail "the plan of $name has no $row"; }
    done
    head -1 "$path" | grep -q '^# .*[.]$' || fail "$path does not say what it is in a sentence"
    count=$((count + 1))
done
[ "$count" -ge 8 ] || fail "only $count recipes"

# Twins: the same but for the feed-forward, and within 1 % the same FLOPs for a token.
for pair in default:default-dense wikitext-2:wikitext-2-dense; do
    python3 - "$coterie" "${pair%:*}" "${pair#*:}" <<'PYTHON'
import json, subprocess, sys
program, *names = sys.argv[1:]
read = lambda *words: json.loads(subprocess.check_output([program, *words, "--json"]))
recipes = [read("list", "recipes", name) for name in names]
kinds = [recipe["model"].pop("ffn")["kind"] for recipe in recipes]
assert kinds == ["sparse", "dense"], (names, kinds)
assert recipes[0] == recipes[1], f"{names} differ in more than the feed-forward"
sparse, dense = (read("info", name)["flops_per_token"]["training"] for name in names)
assert dense <= sparse <= 1.01 * dense, (names, sparse, dense)
PYTHON
done
# The recipe that docs/recipes.md opens with works as it stands.
sed -n '/^```yaml$/,/^```$/{/^```/d;p}' docs/recipes.md >"$work/example.yaml"
"$coterie" train "$work/example.yaml" --dry-run --set "data.path=$work/train.txt.gz" --set data.context=8 \
    --set data.validation_fraction=0 >"$work/out" || fail "the example of docs/recipes.md has no plan"
grep -q '^layers  *3 sparse, 3 dense' "$work/out" || fail "the example of docs/recipes.md is another model"

echo "$count recipes make plans"
