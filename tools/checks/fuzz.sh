#!/usr/bin/env bash
# Fuzzes every parser under ASan and UBSan: each target runs until it has had SECONDS of processor time, all calls taken together.
# What it has had and the inputs that it found lie in BUILD-fuzz/found, so whatever interrupts it, the next call goes on.
#   tools/checks/fuzz.sh [SECONDS [TARGET...]]     1200 of every target by default; JOBS at a time
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-1200}
[ $# = 0 ] || shift
build=${BUILD:-build}-fuzz
jobs=${JOBS:-$(nproc)}
export OMP_NUM_THREADS=1 build seconds

# The library once more, by clang, with libFuzzer's counters in everything but the kernels.
make_targets() {
    {
        CC=${CLANG:-clang} cmake -S . -B "$build" -DCOTERIE_FUZZ=ON -DCOTERIE_TESTS=OFF -DCOTERIE_WERROR=ON \
            -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE='-O1 -g'
        cmake --build "$build" -j "$jobs" --target "$@"
    } >"$build.log" 2>&1 || { grep -E -A3 'error|Error' "$build.log" >&2 || tail "$build.log" >&2; exit 1; }
}

# fuzz_one TARGET: in runs of a minute at most.
fuzz_one() {
    target=$1
    kind=${target#fuzz_}
    found=$build/found/$kind
    mkdir -p "$found/inputs"
    had=$(cat "$found/seconds" 2>/dev/null || echo 0)
    words=tests/fuzz/words/$kind
    [ -f "$words" ] || words=tests/fuzz/words/json
    TIMEFORMAT='%U %S'
    while awk "BEGIN { exit !($had < $seconds) }"; do
        chunk=$(awk "BEGIN { left = $seconds - $had; print left < 60 ? int(left) + 1 : 60 }")
        { time "$build/tests/$target" -max_total_time="$chunk" -timeout=60 -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=65536 -dict="$words" \
            -artifact_prefix="$found/" -print_final_stats=1 "$found/inputs" "tests/fuzz/corpus/$kind" >"$found/log" 2>&1; } 2>"$found/time" || {
            tail -40 "$found/log" >&2
            echo "$target: a finding after $had s; the input is in $found" >&2
            return 1
        }
        had=$(awk -v had="$had" '{ print had + $1 + $2 }' "$found/time")
        echo "$had" >"$found/seconds"
        runs=$(awk -v before="$(cat "$found/runs" 2>/dev/null || echo 0)" '/stat::number_of_executed_units/ { print before + $2 }' "$found/log")
        echo "$runs" >"$found/runs"
    done
    covered=$(sed -n 's/.*cov: \([0-9]*\).*/\1/p' "$found/log" | tail -1)
    printf '%-18s %6.0f s of processor time, %9d runs, %5d places reached, nothing found\n' "$target" "$had" "$(cat "$found/runs")" "$covered"
}
export -f fuzz_one

[ $# -gt 0 ] || set -- $(cd tests/fuzz && ls fuzz_*.c | sed 's/\.c$//')
make_targets "$@"
printf '%s\n' "$@" | xargs -P "$jobs" -I{} bash -c 'set -eu; fuzz_one {}'
