#!/usr/bin/env bash
# Builds and tests without each thing that Coterie can do without: LIBXSMM, libzstd; and, at run time, gnuplot and python3.
set -eu
source "$(dirname "$0")/building.bash"
for name in LIBXSMM ZSTD; do
    echo "without $name"
    build_in "$stem-without" '' -DCOTERIE_LIBXSMM=ON -DCOTERIE_ZSTD=ON -DCOTERIE_$name=OFF
    test_in "$stem-without" "$@"
done

# A folder of links to all programs but these.
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
for program in /usr/bin/* /bin/*; do
    case ${program##*/} in gnuplot* | python*) ;; *) ln -sf "$program" "$tools/" ;; esac
done
echo "without gnuplot and python3"
rm -rf "$stem-without"
PATH=$tools build_in "$stem-without" '' -DPYTHON3=
PATH=$tools test_in "$stem-without" "$@"
