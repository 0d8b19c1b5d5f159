#!/usr/bin/env bash
# Fuzzes every parser under ASan and UBSan: each target runs until it has had SECONDS of processor time, all calls taken together.
# What it has had and the inputs that it found lie in build-fuzz/found, so whatever interrupts it, the next call goes on.
#   tests/long/fuzz.sh [SECONDS [TARGET...]]     1200 of every target by default; JOBS at a time
#   tests/long/fuzz.sh short                     10 of every target, from the kept inputs on; nothing where clang is missing
set -eu
source "$(dirname "$0")/building.bash"
seconds=${1:-1200}
[ $# = 0 ] || shift
export OMP_NUM_THREADS=1 build="$stem-fuzz" found="$stem-fuzz/found" seconds
if [ "$seconds" = short ]; then
    seconds=10 found=$build/short
    rm -rf "$found"
    can_fuzz || { echo "clang with libFuzzer and OpenMP is not there: the parsers are not fuzzed (tools/setup.sh long installs it)"; exit 0; }
fi

# fuzz_one TARGET: in runs of a minute at most.
fuzz_one() {
    local target=$1 kind=${1#fuzz_} had runs words
    local at=$found/$kind
    mkdir -p "$at/inputs"
    had=$(cat "$at/seconds" 2>/dev/null || echo 0)
    runs=$(cat "$at/runs" 2>/dev/null || echo 0)
    words=tests/fuzz/words/$kind
    [ -f "$words" ] || words=tests/fuzz/words/json
    TIMEFORMAT='%U %S'
    while awk "BEGIN { exit !($had < $seconds) }"; do
        chunk=$(awk "BEGIN { left = $seconds - $had; print left < 60 ? int(left) + 1 : 60 }")
        { time "$build/tests/$target" -max_total_time="$chunk" -timeout=60 -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=65536 -dict="$words" \
            -artifact_prefix="$at/" -print_final_stats=1 "$at/inputs" "tests/fuzz/corpus/$kind" >"$at/log" 2>&1; } 2>"$at/time" || {
            grep -vE '^#[0-9]|^NOTE|^ +Combine' "$at/log" | tail -30 >&2
            echo "$target: a finding after $had s; the input lies in $at" >&2
            return 1
        }
        had=$(awk -v had="$had" '{ print had + $1 + $2 }' "$at/time")
        runs=$(awk -v runs="$runs" '/stat::number_of_executed_units/ { runs += $2 } END { print runs }' "$at/log")
        echo "$had" >"$at/seconds"
        echo "$runs" >"$at/runs"
    done
    covered=$(sed -n 's/.*cov: \([0-9]*\).*/\1/p' "$at/log" 2>/dev/null | tail -1)
    printf '%-18s %6.0f s of processor time, %9d runs, %5d places reached, nothing found\n' "$target" "$had" "$runs" "${covered:-0}"
}
export -f fuzz_one

[ $# -gt 0 ] || set -- $(cd tests/fuzz && ls fuzz_*.c | sed 's/\.c$//')
# The library once more, by clang, with libFuzzer's counters in everything but the kernels.
CC=clang build_in "$build" "$*" -DCOTERIE_FUZZ=ON -DCOTERIE_TESTS=OFF -DCMAKE_C_FLAGS_RELEASE='-O1 -g'
printf '%s\n' "$@" | xargs -P "$jobs" -I{} bash -c 'set -eu; fuzz_one {}'
