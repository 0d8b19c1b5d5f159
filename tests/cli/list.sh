#!/usr/bin/env bash
# coterie list: families, members, options and recipes, as text and as JSON.
set -eu
coterie=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "FAILED: $*"; exit 1; }
has() { grep -qF -- "$2" "$work/$1" || { cat "$work/$1"; fail "$1 lacks: $2"; }; }

"$coterie" list >"$work/all"
for family in routers experts balance mixers models objectives optimizers schedules recipes; do
    grep -q "^$family " "$work/all" || fail "no family $family"
    "$coterie" list $family >"$work/$family"
    "$coterie" list $family --json >"$work/$family.json"
done
for router in top_k noisy_top_k switch; do has routers "  $router "; done
for rule in importance load aux z_loss; do has balance "  $rule "; done

# Every member of every family can be asked for, and tells all its options.
"$coterie" list --json >"$work/all.json"
python3 - "$coterie" "$work/all.json" <<'PYTHON'
import json, subprocess, sys
program, path = sys.argv[1:]
everything = json.load(open(path))
assert len(everything["families"]) >= 8
for family in everything["families"]:
    assert family["summary"] and family["members"], family["name"]
    alone = json.loads(subprocess.check_output([program, "list", family["name"], "--json"]))
    assert alone == family
    for member in family["members"]:
        assert member["summary"], (family["name"], member["name"])
        assert json.loads(subprocess.check_output([program, "list", family["name"], member["name"], "--json"])) == member
        text = subprocess.check_output([program, "list", family["name"], member["name"]], text=True)
        for option in member["options"]:
            assert option["help"] and option["allowed"], option
            assert f"\n  {option['name']} " in text, (text, option)
router = json.loads(subprocess.check_output([program, "list", "routers", "top_k", "--json"]))
options = {o["name"]: o for o in router["options"]}
assert options["top_k"]["default"] == 2 and options["softmax"]["default"] == "all" and options["norm_topk_prob"]["default"] is True
PYTHON

# The singular works too; what is unknown is named with what is near.
"$coterie" list router top_k | cmp - <("$coterie" list routers top_k) || fail "singular differs"
! "$coterie" list rooters >"$work/out" 2>"$work/err" || fail "unknown family accepted"
has err "coterie: 'rooters' is no family; did you mean 'routers'? (families: routers,"
! "$coterie" list routers topk >"$work/out" 2>"$work/err" || fail "unknown router accepted"
has err "coterie: 'topk' is no known router; did you mean 'top_k'? (kinds: "
[ ! -s "$work/out" ] || fail "an error prints on stdout"

# Recipes: from a folder of one's own, by name or path, as they lie there or as JSON.
mkdir "$work/own"
printf '# A tiny model.\nmodel: {kind: lm}\ntrain: {tokens: 20e6}\n' >"$work/own/tiny.yaml"
printf 'a: 1\n' >"$work/own/.hidden.yaml"
export COTERIE_RECIPES=$work/own
"$coterie" list recipes -q >"$work/out"
[ "$(wc -l <"$work/out")" = 2 ] || fail "recipes are not those of the folder"
has out "tiny    A tiny model."
"$coterie" list recipes tiny | cmp - "$work/own/tiny.yaml" || fail "a recipe is not shown as it is"
"$coterie" list recipes "$work/own/tiny.yaml" | cmp - "$work/own/tiny.yaml" || fail "a path is not taken"
"$coterie" list recipes tiny --json | python3 -c 'import json, sys; assert json.load(sys.stdin)["train"]["tokens"] == 20e6'
! "$coterie" list recipes tinny 2>"$work/err" || fail "unknown recipe accepted"
has err "coterie: 'tinny' is neither a file nor a recipe; did you mean 'tiny'? (recipes: tiny)"
printf 'a: [1\n' >"$work/own/bad.yaml"
! "$coterie" list recipes bad 2>"$work/err" >"$work/out" || fail "a broken recipe accepted"
has err "coterie: $work/own/bad.yaml:2:1: did not find expected"

"$coterie" list formats >"$work/out"
has out "experts                                                always   always     always     always  may"
"$coterie" list formats mixtral >"$work/out"
has out "model.layers.{i}.block_sparse_moe.experts.{e}.w1.weight"
"$coterie" list formats --json | python3 -c 'import json, sys; r = json.load(sys.stdin); assert [f["model_type"] for f in r["formats"]][-1] == "coterie" and all(len(f["rules"]) == len(r["traits"]) for f in r["formats"])'
! "$coterie" list formats llma 2>"$work/err" || fail "unknown format accepted"
has err "coterie: 'llma' is no format; did you mean 'llama'?"
echo "lists are whole"
