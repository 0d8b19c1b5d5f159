#!/usr/bin/env bash
# One version and one date of it everywhere, and a changelog in form: unreleased changes first, then releases, newest first, each kind of change once.
set -eu
build=$1 source=$2
fail() { echo "FAILED: $*"; exit 1; }
version=$(sed -n 's/^Version: //p' "$build/coterie.pc")
grep -qF "coterie ($version) " <(head -1 "$source/debian/changelog") || fail "debian/changelog is not of version $version"

log=$source/CHANGELOG.md
headings=$(sed -n 's/^## //p' "$log")
dated=$(grep -v '^Unreleased$' <<<"$headings")
! grep -vE ' - [0-9]{4}-[0-9]{2}-[0-9]{2}$' <<<"$dated" || fail "$log: releases without a date"
releases=$(sed 's/ - .*//' <<<"$dated")
[ "$(head -1 <<<"$releases")" = "$version" ] || fail "$log: the newest release is not $version"
diff <(sort -rV <<<"$releases") - <<<"$releases" || fail "$log: releases are not in order, newest first"
released=$(head -1 <<<"$dated" | sed 's/.* - //')
debian=$(sed -n 's/^ -- .*>  //p' "$source/debian/changelog" | head -1)
[ "$(date -d "$debian" +%F)" = "$released" ] || fail "debian/changelog is of $debian, $log of $released"
grep -qF "\"$released\" \"coterie $version\"" "$build/manual/coterie.1" || fail "the manual pages are not of $released"
[ "$(grep -c '^Unreleased$' <<<"$headings")" -le 1 ] || fail "$log: Unreleased stands there twice"
awk '/^## / {split("", seen)} /^### / && !/^### (Added|Changed|Deprecated|Removed|Fixed|Security)$/ {print; bad = 1}
    /^### / && seen[$0]++ {print; bad = 1} END {exit bad}' "$log" || fail "$log: no kind of change, or twice in a release"
echo "version $version"
