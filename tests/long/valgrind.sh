#!/usr/bin/env bash
# A short run under valgrind: training, resuming, evaluation, generation. Its processor has no AVX-512, so both our kernels and LIBXSMM's
# are those of AVX2.
set -eu
source "$(dirname "$0")/building.bash"
export COTERIE_CPU=avx2 LIBXSMM_TARGET=hsw OMP_NUM_THREADS=2 GOMP_SPINCOUNT=0
coterie=$(realpath "${BUILD:-build-check}/coterie")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp tests/long/small.yaml "$work"
mkdir "$work/texts"
head -c 20000 data/demo/drama.txt >"$work/texts/drama.txt"
head -c 20000 data/demo/source-c.txt >"$work/texts/source-c.txt"
cd "$work"

check() {
    local code=0
    valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite "$coterie" "$@" >out 2>err || code=$?
    [ "$code" = 0 ] && echo "coterie $*: clean" && return
    echo "coterie $*: exit code $code" >&2
    tail -50 err >&2
    return 1
}
check train small.yaml --out run -q
check train --resume run --set train.steps=3 -q
check eval run -q
check generate run "the" --max-tokens 4 --explain
check info run
