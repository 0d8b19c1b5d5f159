#!/usr/bin/env bash
# All tests under AddressSanitizer (with its search for leaks) and UndefinedBehaviorSanitizer.
set -eu
source "$(dirname "$0")/building.bash"
build_in "$stem-sanitize" '' -DCOTERIE_SANITIZE=address,undefined
test_in "$stem-sanitize" "$@"
