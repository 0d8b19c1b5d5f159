#!/usr/bin/env bash
# Builds with gcc and with clang, warnings as errors, and all tests with each.
set -eu
source "$(dirname "$0")/building.bash"
for compiler in gcc clang; do
    command -v $compiler >/dev/null || { echo "$compiler is not there" >&2; exit 1; }
    echo "$compiler"
    CC=$compiler build_in "$stem-$compiler" ''
    test_in "$stem-$compiler" "$@"
done
