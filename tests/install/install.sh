#!/usr/bin/env bash
# An installed tree, put somewhere else than it was configured for: programs in C and C++ build against it through pkg-config and
# through find_package(), and program and library find their recipes and texts there.
set -eu
build=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
export OMP_WAIT_POLICY=passive
unset COTERIE_RECIPES
cd "$work"  # nothing is found because we stand in the source tree

fail() { echo "FAILED: $*"; cat "$work/log" 2>/dev/null; exit 1; }

"$CMAKE" --install "$build" --prefix "$prefix" >log 2>&1 || fail "nothing was installed"
for file in bin/coterie include/coterie/model.h share/coterie/recipes/default.yaml share/coterie/claims/shazeer-table-6.yaml share/coterie/data/demo/drama.txt \
    share/man/man1/coterie-train.1 share/man/man5/coterie-recipe.5 share/bash-completion/completions/coterie share/zsh/site-functions/_coterie; do
    [ -f "$prefix/$file" ] || fail "$file is missing"
done
diff -r "$source/include/coterie" "$prefix/include/coterie" || fail "headers differ"

export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name coterie.pc)")
library=$(pkg-config --variable=libdir coterie)
version=$(pkg-config --modversion coterie)
export LD_LIBRARY_PATH=$library

# The example as its users build it.
runs() { "$1" >out 2>log || fail "$1 does not run"; grep -q '^rows of kind 3 go to experts' out || fail "$1 prints something else"; }
# shellcheck disable=SC2046
"$CC" -std=c17 -O1 "$source/examples/sparse_layer.c" -o with_pkg_config $(pkg-config --cflags --libs coterie)
runs ./with_pkg_config

mkdir client
cat >client/CMakeLists.txt <<CMAKE
cmake_minimum_required(VERSION 3.18)
project(client C)
find_package(coterie $version REQUIRED)
add_executable(with_cmake $source/examples/sparse_layer.c)
target_link_libraries(with_cmake PRIVATE coterie::coterie)
CMAKE
{ "$CMAKE" -S client -B client/build -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$CC" &&
    "$CMAKE" --build client/build; } >log 2>&1 || fail "find_package(coterie) does not serve"
runs client/build/with_cmake
sed -i "s/coterie $version/coterie 99.0/" client/CMakeLists.txt
! "$CMAKE" -S client -B client/build -DCMAKE_PREFIX_PATH="$prefix" >log 2>&1 || fail "version 99 is found"

# From C++, and what comes with the library is found beside it.
cat >where.cc <<'CODE'
#include <coterie/recipes.h>
#include <cstdio>
int main() {
    char *path;
    if (cot_recipes_find("default", &path) != COT_OK) return std::puts(cot_last_error()), 1;
    std::puts(path);
}
CODE
# shellcheck disable=SC2046
if [ -n "${CXX-}" ]; then
    "$CXX" -std=c++17 where.cc -o where $(pkg-config --cflags --libs coterie)
    [ "$(realpath "$(./where)")" = "$(realpath "$prefix/share/coterie/recipes/default.yaml")" ] ||
        fail "the library finds $(./where)"
fi

coterie=$prefix/bin/coterie
"$coterie" --version | grep -qF "$version" || fail "the program is not of version $version"
"$coterie" list recipes --json | grep -qF "$prefix/" || fail "the program's recipes are not the installed ones"
"$coterie" train default --dry-run --set data.cache_dir=cache >out 2>log || fail "the installed program cannot plan the default recipe"
grep -q '^data .* 4 sources' out || fail "the installed texts are not found"
echo "installed: $version"
