#!/usr/bin/env bash
# coterie reproduce: the short form of a claim from runs to page, going on where it was stopped; every claim that comes with the
# program can be read; the committed pages are what their results give.
set -eu
source "$2/tests/cli/helpers.bash"
export XDG_CACHE_HOME=$work/cache
unset COTERIE_CLAIMS COTERIE_RECIPES

expect 0 reproduce list --json
grep -q '"name": "shazeer-table-6"' out || fail "the list lacks a claim"
(cd "$source_dir" && "$coterie" reproduce all --check) >out 2>err || fail "pages under docs/reproductions are stale: coterie reproduce all --report"

# A set that is stopped keeps what has ended.
"$coterie" reproduce shazeer-table-6 --short --seeds 2 --results kept >out 2>err &
pid=$!
wait_for 20 test -s kept/shazeer-table-6.jsonl
kill -INT $pid
wait $pid || fail "a stopped set ends with an error"
runs=$(wc -l <kept/shazeer-table-6.jsonl)
[ "$runs" -lt 4 ] || fail "nothing was left to do: the test is too slow to stop it"
err_has "goes on with the rest"

expect 0 reproduce shazeer-table-6 --short --seeds 2 --results kept
[ "$(wc -l <kept/shazeer-table-6.jsonl)" = 4 ] || fail "expected 4 runs, two arms with two seeds"
out_has "max_over_mean: none > 2 * both_0.1"
# The busiest expert takes more without losses: the fifth of the figures, which are 'mean ± deviation'.
busiest() { awk -v arm="$1" '$1 == arm { print $(NF - 2) }' out; }
awk -v none="$(busiest none)" -v both="$(busiest both_0.1)" 'BEGIN { exit !(none > 1.5 * both) }' ||
    fail "the busiest expert takes $(busiest none) times the mean without losses, $(busiest both_0.1) with them"
expect 0 reproduce shazeer-table-6 --short --seeds 2 --results kept --json
[ "$(wc -l <kept/shazeer-table-6.jsonl)" = 4 ] || fail "finished runs were made again"

expect 0 reproduce shazeer-table-6 --short --seeds 2 --results kept --report
grep -q '^# Balance losses' kept/shazeer-table-6.md || fail "no page"
expect 0 reproduce shazeer-table-6 --short --seeds 2 --results kept --check
echo more >>kept/shazeer-table-6.md
refuses "is not what its claim and results give" reproduce shazeer-table-6 --short --seeds 2 --results kept --check

if command -v gnuplot >/dev/null; then
    sed 's/^measures:/picture: [perplexity, max_over_mean]\nmeasures:/' "$source_dir/claims/shazeer-table-6.yaml" >shazeer-table-6.yaml
    expect 0 reproduce shazeer-table-6.yaml --short --seeds 2 --results kept --report
    out_has kept/shazeer-table-6.svg
    grep -q 'figures](shazeer-table-6.svg)' kept/shazeer-table-6.md || fail "the page does not show its picture"
    grep -q both_0.1 kept/shazeer-table-6.svg || fail "the picture lacks an arm"
fi

expect 0 reproduce peer-equal-flops --dry-run --results kept
awk '$1 == "dense" { dense = $3 } $1 == "peer" || $1 == "pkm" || $1 ~ /^moe/ { n++; if ($3 > 1.01 * dense || $3 < 0.99 * dense) exit 1 }
    END { exit n != 4 }' out || fail "arms of peer-equal-flops do not cost the same"

refuses "'shazer-table-6' is neither a file nor a claim; did you mean 'shazeer-table-6'?" reproduce shazer-table-6
expect 2 reproduce shazeer-table-6 --arm nothing --results kept
sed 's/none >/nobody >/' "$source_dir/claims/shazeer-table-6.yaml" >broken.yaml
refuses "names no arm 'nobody'" reproduce broken.yaml
[ ! -e reproductions ] || fail "a claim that cannot be read left files behind"
