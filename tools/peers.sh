#!/bin/sh
# Coterie beside PyTorch and transformers, in a virtual environment of their own.
#   tools/peers.sh check   whole models: gradients, training steps, logits
#   tools/peers.sh bench   the bench cases in turn: ours, PyTorch eager, PyTorch compiled (tcmalloc preloaded)
set -eu
build=${BUILD:-build}
venv=.venv-peers
python=$venv/bin/python

if ! "$python" -c 'import torch, transformers, safetensors' 2>/dev/null; then
    echo "installing PyTorch and transformers in $venv (5.6 GB; once)"
    python3 -m venv "$venv"
    "$python" -m pip install --disable-pip-version-check -r bench/peers/requirements.txt
fi

case ${1-} in
check)
    cmake --build "$build" --target dump_model -j "$(nproc)"
    HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1 "$python" tests/peers/check_model.py "$build/dump_model" "$build/coterie"
    ;;
bench) "$python" bench/peers/compare.py "$build/coterie" "$python" ;;
*) sed -n '2,4s/^# *//p' "$0"; exit 2 ;;
esac
