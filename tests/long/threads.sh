#!/usr/bin/env bash
# All tests under ThreadSanitizer. It must be clang with LLVM's OpenMP: Archer tells the sanitizer where OpenMP's threads wait for each
# other, and gcc's library, which nothing tells it about, raises false alarms at every parallel loop.
set -eu
source "$(dirname "$0")/building.bash"
archer=$(clang -print-resource-dir)/../../libarcher.so
[ -f "$archer" ] || { echo "$archer is not there (Debian: libomp-dev)" >&2; exit 1; }
CC=clang build_in "$stem-threads" '' -DCOTERIE_SANITIZE=thread -DCMAKE_C_FLAGS_RELEASE='-O1 -g'
export OMP_TOOL_LIBRARIES=$archer ARCHER_OPTIONS=verbose=0 TSAN_OPTIONS='ignore_noninstrumented_modules=1 halt_on_error=1' OMP_NUM_THREADS=3
test_in "$stem-threads" "$@"
