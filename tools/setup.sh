#!/bin/sh
# Installs what building (and testing, drawing, measuring beside PyTorch) needs, and says what and why.
#   tools/setup.sh build [check] [demo] [deb] [long] [peers]
# On Debian and its relatives it installs with apt (as root or through sudo); elsewhere it lists what to install and stops.
set -eu

packages='
build cmake           the build
build pkg-config      finds libraries
build libxsmm-dev     products of small matrices at the peak of the processor
build libjansson-dev  JSON
build libyaml-dev     recipes
build libutf8proc-dev Unicode classes for the tokenizer
build librandom123-dev counter-based random numbers
build libzstd-dev     compressed corpora
build zlib1g-dev      compressed corpora
check libcmocka-dev   tests
check python3         independent oracles of the tests
demo  gnuplot-nox     plots
demo  fonts-dejavu-core letters in plots
check gnuplot-nox     tests of plots
check fonts-dejavu-core letters in plots
long  clang           fuzzing, ThreadSanitizer, and the opinion of a second compiler
long  libclang-rt-dev libFuzzer and the sanitizers themselves
long  libomp-dev      OpenMP for clang, and Archer, without which ThreadSanitizer does not understand it
long  valgrind        memory errors that no compiler looks for
deb   debhelper       builds Debian packages
deb   lintian         looks them over
long  mmdebstrap      a clean system to install them on
peers python3-venv    a virtual environment for PyTorch
peers g++             the compiler behind torch.compile
peers libtcmalloc-minimal4 the allocator that makes compiled PyTorch fastest
'

wanted=${*:-build}
missing=
list=
while read -r group package why; do
    case " $wanted " in *" $group "*) ;; *) continue ;; esac
    if command -v dpkg-query >/dev/null 2>&1; then
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' && continue
    fi
    case " $missing " in *" $package "*) continue ;; esac
    missing="$missing $package"
    list="$list  $package: $why
"
done <<END
$(printf '%s' "$packages" | sed '/^$/d')
END

[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    for tool in cmake pkg-config; do command -v $tool >/dev/null 2>&1 || absent=1; done
    if [ -z "${absent-}" ] && pkg-config --exists jansson yaml-0.1 libutf8proc libzstd zlib 2>/dev/null; then
        echo "not a Debian system: cannot tell whether all is there; going on (the build says what is left out)"
        exit 0
    fi
    printf 'Coterie needs these (names of Debian packages); please install them and run this again:\n%s' "$list" >&2
    exit 1
fi
printf 'installing what is missing:\n%s' "$list"
run=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "not root and no sudo: please install these packages and run this again:$missing" >&2; exit 1; }
    run=sudo
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086
{ $run apt-get update && $run apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
rm -f "$log"
