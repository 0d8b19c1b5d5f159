#!/usr/bin/env bash
# Machines that Coterie is not for are told when it is configured: a 32-bit one, and where clang is there to pretend, a big-endian one.
set -eu
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# refused NAME COMPILER FLAGS: nothing is linked, so no library of such a machine is needed.
refused() {
    local code=0
    "$CMAKE" -S "$source" -B "$work/$1" -DCMAKE_C_COMPILER="$2" -DCMAKE_C_FLAGS="$3" -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY >"$work/log" 2>&1 ||
        code=$?
    [ $code != 0 ] || { echo "FAILED: $1 is accepted"; exit 1; }
    grep -q 'needs a little-endian 64-bit machine' "$work/log" || { cat "$work/log"; echo "FAILED: $1 is refused for another reason"; exit 1; }
    echo "$1 is refused"
}
"$CC" -m32 -x c -c /dev/null -o "$work/try" 2>/dev/null && refused 32-bit "$CC" -m32
clang --target=powerpc64-linux-gnu -x c -c /dev/null -o "$work/try" 2>/dev/null && refused big-endian clang --target=powerpc64-linux-gnu
exit 0
