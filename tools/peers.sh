#!/bin/sh
# Coterie beside PyTorch and transformers, which live in a virtual environment of their own (.venv-peers).
#   tools/peers.sh check              whole models: gradients, training steps, logits, folders, GGUF files, tokenizers; writes docs/peers.md when all is well
#   tools/peers.sh bench [CASE...] [--rounds N] [--json]
#                                     the bench cases in turn: ours, PyTorch eager, PyTorch compiled
#   tools/peers.sh tokenizers [--shared FOLDER] [--rounds N]
#                                     encoding and BPE training beside Hugging Face's tokenizers and sentencepiece
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
venv=.venv-peers
python=$venv/bin/python
export HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1

# Nothing is installed before it has been said what; a finished environment is left alone.
prepare() {
    "$python" -c 'import torch, transformers, safetensors, tokenizers, sentencepiece, regex, numpy, scipy, yaml, llama_cpp, lm_eval, accelerate' 2>/dev/null && return
    {
        echo "installing into $venv, about 5.6 GB, once (a few minutes; remove the folder to be rid of it):"
        grep -v '^#' bench/peers/requirements.txt | sed 's/^/  /'
    } >&2
    [ -x "$python" ] || python3 -m venv "$venv"
    # Of llama.cpp only the library is built.
    CMAKE_ARGS='-DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF' \
        "$python" -m pip install --disable-pip-version-check -r bench/peers/requirements.txt >&2
}

build_quietly() {
    log=$(mktemp)
    cmake --build "$build" --target "$@" -j "$(nproc)" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    rm -f "$log"
}

check() {
    build_quietly dump_gradients dump_model dump_tokens resave
    failed=0
    PEERS_SEEN=$(mktemp)
    export PEERS_SEEN
    printf 'Against an implementation of our own in PyTorch\n\n'
    "$python" tests/peers/check_torch.py --dump "$build/dump_gradients" --coterie "$build/coterie" || failed=1
    printf '\nAgainst transformers\n\n'
    "$python" tests/peers/check_model.py "$build/dump_model" "$build/coterie" || failed=1
    printf '\nModel folders, from transformers and back\n\n'
    "$python" tests/peers/check_formats.py "$build/resave" "$build/coterie" || failed=1
    printf '\nAgainst SciPy\n\n'
    "$python" tests/peers/check_base.py "$build/coterie" || failed=1
    printf '\nTokenizers, against tokenizers and sentencepiece\n\n'
    "$python" tests/peers/check_tokenizers.py "$build/dump_tokens" || failed=1
    printf '\nAgainst llama.cpp\n\n'
    "$python" tests/peers/check_llama_cpp.py "$build/coterie" || failed=1
    printf '\nAgainst lm-eval\n\n'
    "$python" tests/peers/check_tasks.py "$build/coterie" || failed=1
    [ $failed = 0 ] && "$python" tests/peers/peers_table.py "$PEERS_SEEN" docs/peers.md && printf '\n' && cat docs/peers.md
    rm -f "$PEERS_SEEN"
    exit $failed
}

case ${1-} in
check) prepare; check ;;
tokenizers) shift; prepare; build_quietly dump_tokens; "$python" bench/peers/compare_tokenizers.py "$build/dump_tokens" "$@" ;;
bench) shift; prepare; "$python" bench/peers/compare.py --coterie "$build/coterie" "$@" ;;
*) sed -n '2,7s/^# *//p' "$0" >&2; exit 2 ;;
esac
