#!/usr/bin/env bash
# coterie route: JSON through pipes and files, tables on a terminal, errors in one line; and random cases against an independent
# oracle (where there is a Python).
set -eu
coterie=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "FAILED: $*"; cat "$work/out" "$work/err"; exit 1; }

# expect CODE INPUT WORDS...: runs `coterie route` on INPUT and checks its exit code.
expect() {
    local want=$1 input=$2 code=0
    shift 2
    printf '%s' "$input" | "$coterie" route "$@" >"$work/out" 2>"$work/err" || code=$?
    [ "$code" = "$want" ] || fail "route $*: exit code $code, expected $want"
}
out_is() { printf '%s\n' "$1" | diff - "$work/out" || fail "stdout is not as expected"; }
err_is() { printf '%s\n' "$@" | diff - "$work/err" || fail "stderr is not as expected"; }

two='{"logits": [[0, 0, -Infinity], [0, 0, 0]]}'
expect 0 "$two" --router '{kind: top_k, top_k: 1}' --balance '{kind: aux, coef: 0.5}' --balance '{kind: aux, coef: 0.5, choices: first}' \
    --capacity '{capacity_factor: 1.5}' --gradient
sed 's/, "gradient".*/}/' "$work/out" >"$work/cut" && mv "$work/cut" "$work/out"
out_is '{"assignments": [{"token": 0, "expert": 0, "gate": 1.0, "slot": 0}], "dropped": [{"token": 1, "expert": 0}], "load": [2, 0, 0], "importance": [2.0, 0.0, 0.0], "losses": {"aux": 0.625, "aux.2": 0.625}, "capacity": 1}'

# A file does as well as a pipe, and without losses gradients are zero.
printf '%s' "$two" >"$work/in.json"
expect 0 '' --router '{kind: switch}' --gradient "$work/in.json"
grep -qF '"gradient": {"logits": [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]}}' "$work/out" || fail "gradient without losses is not zero"

# Errors: one line that says what and where, nothing on stdout.
expect 1 '{"logits": [[1, NaN]]}' --router '{kind: top_k}'
err_is 'coterie: standard input: logits[0][1] is NaN, expected a finite number (or "-inf" to mask the expert)'
[ ! -s "$work/out" ] || fail "stdout is not empty"
expect 1 "$two" --router '{kind: top_k, top_k: 4}'
err_is "coterie: router:1: top_k asks router 'top_k' for 4 experts per token, expected at most num_experts = 3"
expect 1 "$two" --router '{kind: topk}'
grep -q "^coterie: router:1: kind is 'topk', no known router; did you mean 'top_k'? (kinds: top_k, " "$work/err" || fail "an unknown kind is not explained"
expect 1 'logits' --router '{kind: top_k}'
[ "$(wc -l <"$work/err")" = 1 ] || fail "an error is not one line"
expect 2 "$two"
expect 1 '' --router '{kind: switch}' "$work/none.json"
[ "$(wc -l <"$work/err")" = 1 ] || fail "an error is not one line"

# On a terminal: tables.
if command -v script >/dev/null; then
    script -qec "NO_COLOR=1 '$coterie' route --router '{kind: switch}' --balance '{kind: z_loss}' '$work/in.json'" /dev/null </dev/null >"$work/out" 2>"$work/err" ||
        fail "route on a terminal failed"
    for word in token expert gate slot load importance dropless z_loss; do grep -q "$word" "$work/out" || fail "the table lacks: $word"; done
fi

python=$(command -v python3 || true)
if [ -n "$python" ]; then
    "$python" "$source/tests/peers/route_vectors.py" "$coterie" >"$work/out" 2>"$work/err" || fail "a published case comes out otherwise"
    "$python" "$source/tests/peers/route_oracle.py" "$coterie" 300 >"$work/out" 2>"$work/err" || fail "the oracle disagrees"
fi
