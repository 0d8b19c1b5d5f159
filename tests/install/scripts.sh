#!/usr/bin/env bash
# The shell scripts that make starts: they parse, and the list of packages is one.
set -eu
source=$2
find "$source/tools" "$source/tests" -name '*.sh' -print0 | xargs -0 -n 1 bash -n
out=$("$source/tools/setup.sh" nothing 2>&1) && [ -z "$out" ] || { echo "FAILED: tools/setup.sh says: $out"; exit 1; }
bad=$(sed -n "/^packages='/,/^'/p" "$source/tools/setup.sh" | sed '1d;$d' | grep -vE '^[a-z]+ +[a-z0-9.+-]+ +[^ ].*$' || true)
[ -z "$bad" ] || { echo "FAILED: tools/setup.sh, no 'GROUP PACKAGE WHY': $bad"; exit 1; }
