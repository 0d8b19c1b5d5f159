#!/usr/bin/env bash
# Each public header stands on its own, once and twice, in C17 and in C++17.
set -eu
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for header in "$source"/include/coterie/*.h; do
    name=$(basename "$header" .h)
    printf '#include <coterie/%s.h>\n#include <coterie/%s.h>\nextern int nothing;\n' "$name" "$name" |
        tee "$work/$name.c" >"$work/$name.cc"
done
flags="-fsyntax-only -Wall -Wextra -Wshadow -Werror -pedantic -I$source/include"
"$CC" -std=c17 -Wstrict-prototypes $flags "$work"/*.c
if [ -n "${CXX-}" ]; then "$CXX" -std=c++17 $flags "$work"/*.cc; fi
echo "each header stands alone in C${CXX:+ and C++}"
