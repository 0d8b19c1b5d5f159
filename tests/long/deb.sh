#!/usr/bin/env bash
# The Debian packages on a clean system: they install, the demo runs from what they brought (shortened), a program builds against the
# library, and they go without a trace. About three minutes; needs root or user namespaces, and the network.
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
cd "$source"
tools/setup.sh build deb long
tools/deb.sh
out=$source/build-deb

cat >"$out/inside.sh" <<'INSIDE'
set -eu
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
fail() { echo "FAILED: $*"; exit 1; }
installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
apt-get install -y --no-install-recommends /debs/coterie_*.deb /debs/coterie-data_*.deb >/dev/null
[ "$(command -v coterie)" = /usr/bin/coterie ] || fail "no program"
ldd /usr/bin/coterie | grep 'not found' && fail "libraries are missing"
coterie list recipes --json | grep -q '"/usr/bin/../share/coterie/recipes/default.yaml"' || fail "recipes are not the installed ones"

# The demo, by somebody who is not root. Without gnuplot there are no pictures: the last part says so in a line.
useradd -m somebody
cat >/home/somebody/demo.sh <<'DEMO'
cd ~ && sh /usr/share/coterie/demo.sh --set train.tokens=2e5 >demo.log 2>&1 || tail -n 1 demo.log
DEMO
su -l somebody -c 'sh demo.sh' | tee /tmp/last
grep -q gnuplot /tmp/last || fail "plotting without gnuplot says: $(cat /tmp/last)"
apt-get install -y --no-install-recommends gnuplot-nox fonts-dejavu-core >/dev/null
su -l somebody -c 'rm -rf runs && sh demo.sh && tail -n 45 demo.log && coterie info runs/demo >/dev/null && ls runs/demo/*.png'
grep -q '^all ' /home/somebody/demo.log || fail "the demo has no evaluation"

apt-get install -y --no-install-recommends /debs/libcoterie0_*.deb /debs/libcoterie-dev_*.deb gcc libc6-dev pkg-config >/dev/null
gcc -O1 /usr/share/doc/libcoterie-dev/examples/sparse_layer.c -o /tmp/sparse_layer $(pkg-config --cflags --libs coterie)
/tmp/sparse_layer | grep '^rows of kind 3 go to experts' || fail "the example does not run"

apt-get purge -y coterie coterie-data libcoterie0 libcoterie-dev >/dev/null
for path in /usr/bin/coterie /usr/share/coterie /usr/include/coterie; do [ ! -e $path ] || fail "$path is left behind"; done
echo "installed, run and removed"
INSIDE

suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
# shellcheck disable=SC2016
mmdebstrap --quiet --variant=apt --format=null \
    --customize-hook="mkdir \"\$1\"/debs && cp $out/*.deb $out/inside.sh \"\$1\"/debs" --customize-hook='chroot "$1" sh /debs/inside.sh' "$suite" /dev/null
