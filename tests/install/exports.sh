#!/usr/bin/env bash
# The shared library exports the functions of the public headers, all of them and nothing else, under its version.
set -eu
build=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; exit 1; }

# Declared: after COT_API, the name before the first bracket. Comments go first.
cat "$source"/include/coterie/*.h | sed -e 's://.*$::' | tr '\n' ' ' | sed -e 's:/\*[^*]*\*\+\([^/*][^*]*\*\+\)*/: :g' >"$work/text"
grep -oE '\bCOT_API [^(;{]*\(' "$work/text" | grep -oE 'cot_[a-z0-9_]+\($' | tr -d '(' | sort >"$work/declared"
grep -oE '\bcot_[a-z0-9_]+\(' "$work/text" | tr -d '(' | sort -u >"$work/called"
nm -D --defined-only "$build/libcoterie.so" | awk '{print $3}' | sort >"$work/exported"

[ -s "$work/declared" ] || fail "the headers declare nothing"
[ -z "$(uniq -d "$work/declared")" ] || fail "declared twice: $(uniq -d "$work/declared" | tr '\n' ' ')"
diff "$work/declared" "$work/exported" || fail "headers (<) and library (>) disagree"
diff "$work/declared" "$work/called" || fail "a function (>) is declared without COT_API"
soname=$(objdump -p "$build/libcoterie.so" | awk '/SONAME/ {print $2}')
[ "$(readlink "$build/libcoterie.so")" = "$soname" ] || fail "the library's name is $soname"
echo "$(wc -l <"$work/exported") functions exported as $soname"
