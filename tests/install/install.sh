#!/usr/bin/env bash
# make install into an empty prefix: the library exports its own names only, a C program builds against it through
# pkg-config and runs, and the program finds its recipes and corpus.
set -eu
build=$1 source=$2 cmake=$3 cc=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
export OMP_WAIT_POLICY=passive

fail() { echo "FAILED: $*"; exit 1; }

"$cmake" --install "$build" --prefix "$prefix" >"$work/log" || { cat "$work/log"; fail "nothing was installed"; }
export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name coterie.pc)")
for file in bin/coterie include/coterie/model.h share/coterie/recipes/default.yaml share/coterie/data/demo/drama.txt; do
    [ -f "$prefix/$file" ] || fail "$file is missing"
done
diff -r "$source/include/coterie" "$prefix/include/coterie" || fail "headers differ"

library=$(pkg-config --variable=libdir coterie)/libcoterie.so
nm -D --defined-only "$library" | awk '{print $3}' >"$work/names"
! grep -v '^cot_' "$work/names" || fail "the library exports names that are not its own"
grep -hoE '\bcot_[a-z0-9_]+\(' "$source"/include/coterie/*.h | tr -d '(' | sort -u | while read -r name; do
    grep -qx "$name" "$work/names" || fail "$name is declared, but not exported"
done

# Each header stands on its own.
for header in "$prefix"/include/coterie/*.h; do
    printf '#include <coterie/%s>\nint x;\n' "$(basename "$header")" >"$work/header.c"
    # shellcheck disable=SC2046
    "$cc" -std=c17 -Wall -Wextra -Werror -pedantic $(pkg-config --cflags coterie) -c "$work/header.c" -o "$work/h.o"
done

# shellcheck disable=SC2046
"$cc" -std=c17 -O1 "$source/examples/sparse_layer.c" -o "$work/sparse_layer" $(pkg-config --cflags --libs coterie)
LD_LIBRARY_PATH=$(dirname "$library") "$work/sparse_layer" >"$work/out" || fail "the example does not run"
grep -q '^rows of kind 3 go to experts' "$work/out" || fail "the example prints something else"
version=$(pkg-config --modversion coterie)
"$prefix/bin/coterie" --version | grep -qF "$version" || fail "the program is not of version $version"
echo "installed"
