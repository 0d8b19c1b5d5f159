#!/usr/bin/env bash
# One version everywhere, and a changelog in form: unreleased changes first, then releases, newest first, each kind of change once.
set -eu
build=$1 source=$2
fail() { echo "FAILED: $*"; exit 1; }
version=$(sed -n 's/^Version: //p' "$build/coterie.pc")
grep -qF "coterie ($version) " <(head -1 "$source/debian/changelog") || fail "debian/changelog is not of version $version"

log=$source/CHANGELOG.md
headings=$(sed -n 's/^## //p' "$log")
releases=$(grep -v '^Unreleased$' <<<"$headings")
[ "$(head -1 <<<"$releases")" = "$version" ] || fail "$log: the newest release is not $version"
diff <(sort -rV <<<"$releases") - <<<"$releases" || fail "$log: releases are not in order, newest first"
[ "$(grep -c '^Unreleased$' <<<"$headings")" -le 1 ] || fail "$log: Unreleased stands there twice"
awk '/^## / {split("", seen)} /^### / && !/^### (Added|Changed|Deprecated|Removed|Fixed|Security)$/ {print; bad = 1}
    /^### / && seen[$0]++ {print; bad = 1} END {exit bad}' "$log" || fail "$log: no kind of change, or twice in a release"
echo "version $version"
