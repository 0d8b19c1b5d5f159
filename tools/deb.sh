#!/bin/sh
# make deb: Debian packages of this tree in build-deb/, looked over by lintian. Nothing is signed, nothing in the tree is touched.
set -eu
out=$(pwd)/build-deb
tree=$out/coterie-$(dpkg-parsechangelog -S Version)
rm -rf "$out"
mkdir -p "$tree"
tar -c --exclude-vcs --exclude='./build*' --exclude='./.venv*' --exclude=./runs . | tar -x -C "$tree"
cd "$tree"
dpkg-buildpackage -b -us -uc >"$out/build.log" 2>&1 || { tail -n 40 "$out/build.log"; exit 1; }
cd "$out"
lintian --fail-on error,warning ./*.changes
ls -1 "$out"/*.deb
