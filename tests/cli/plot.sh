#!/usr/bin/env bash
# coterie plot: pictures of a run's folder, and what it says when something is missing.
set -eu
coterie=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "FAILED: $*"; cat out err; exit 1; }
expect() {
    local want=$1 code=0
    shift
    "$coterie" "$@" >out 2>err </dev/null || code=$?
    [ "$code" = "$want" ] || fail "coterie $*: exit code $code, expected $want"
}
err_is() { printf '%s\n' "$@" | diff - err || fail "stderr is not as expected"; }
out_is() { printf '%s\n' "$@" | diff - out || fail "stdout is not as expected"; }

mkdir empty dense sparse
for step in 1 2 3; do
    echo "{\"step\":$step,\"tokens\":${step}00,\"loss\":$((5 - step)).5,\"layers\":[]}" >>dense/metrics.jsonl
    echo "{\"step\":$step,\"tokens\":${step}00,\"loss\":$((5 - step)).5,\"layers\":[{\"layer\":1,\"load\":[0.25,0.75]}]}" >>sparse/metrics.jsonl
done

expect 1 plot nowhere
err_is "coterie: nowhere: there is no such folder"
expect 1 plot empty
err_is "coterie: empty has neither metrics.jsonl of a training run nor eval.json of \`coterie eval\`"
expect 1 plot dense --what load
err_is "coterie: dense has no sparse layers, so there are no experts to draw"
expect 1 plot sparse --what sources
err_is "coterie: sparse has no eval.json: \`coterie eval sparse\` measures which expert takes which text"
expect 1 plot sparse --what keys
err_is "coterie: sparse has no eval.json: \`coterie eval sparse\` measures which expert takes which text"
expect 1 plot empty --what curve
err_is "coterie: empty has no metrics.jsonl: it is not the folder of a training run"
expect 1 plot dense --what reliability
err_is "coterie: dense has no task-*.json: \`coterie eval dense --task FILE\` asks questions"
echo '{"task":"a","calibration":{"top":{"count":1,"width":[{"from":0,"to":2,"count":1,"confidence":0.4,"accuracy":0.25}]}}}' >bad.json
expect 1 plot dense --task bad.json
err_is "coterie: bad.json: 'to' of a bin is no fraction from 0 to 1"
expect 1 plot sparse -o picture.gif
err_is "coterie: 'picture.gif': a picture's name ends in .png, .svg or .pdf"
expect 2 plot sparse --what nothing
expect 2 plot

# The program must be found through PATH, and is missed in one line; nothing is left behind.
PATH=$work/empty expect 1 plot sparse
err_is "coterie: sparse/curve.png: drawing needs gnuplot, which is not in PATH (Debian: gnuplot-nox)"
[ "$(ls -A sparse)" = metrics.jsonl ] || fail "files were left behind"

command -v gnuplot >/dev/null || exit 0
expect 0 plot dense
out_is dense/curve.png
[ -s dense/curve.png ] || fail "no picture"
expect 0 plot sparse --quiet
out_is sparse/curve.png sparse/load.png
expect 0 plot sparse --quiet
echo '{"sources":[{"name":"a","layers":[{"layer":1,"load":[0.5,0.5]}]},{"name":"b","layers":[{"layer":1,"load":[0,1]}]}]}' >sparse/eval.json
expect 0 plot sparse/
out_is sparse/curve.png sparse/load.png sparse/sources.png
expect 1 plot sparse --what keys
err_is "coterie: sparse has no layers with product keys in its eval.json; \`coterie eval sparse\` writes it anew"
for name in copa lambada; do
    kind=top
    [ $name = copa ] || kind=token
    echo '{"task":"'$name'","calibration":{"'$kind'":{"count":10,"ece_width":0.2,"width":[{"from":0,"to":0.5,"count":4,"confidence":0.4,"accuracy":0.25},
        {"from":0.5,"to":1,"count":6,"confidence":0.7,"accuracy":0.9}]}}}' >sparse/task-$name.json
done
expect 0 plot sparse
out_is sparse/curve.png sparse/load.png sparse/sources.png sparse/reliability.png
[ -s sparse/reliability.png ] || fail "no picture"
for format in png svg pdf; do
    expect 0 plot sparse -o page.$format --keep-script
    [ -s page.$format ] && [ -s page.gp ] || fail "no picture or script"
done
expect 0 plot sparse --what sources --eval sparse/eval.json -o one.svg
expect 0 plot empty --what reliability --task sparse/task-copa.json -o reliability.svg
grep -q 'ECE 0.200 over 10 questions' reliability.svg || fail "the picture lacks the error"
[ -s one.svg ] && [ ! -e one.gp ] || fail "no picture, or a script that was not asked for"
echo '{oops' >>sparse/metrics.jsonl
expect 1 plot sparse
err_is "coterie: sparse/metrics.jsonl:4: not JSON: string or '}' expected near 'oops'"
