#!/usr/bin/env bash
# coterie generate: the same text for the same seed, stop texts, prompts, experts, colour on terminals only.
set -eu
source "$2/tests/cli/helpers.bash"
make_corpus
expect 0 train tiny.yaml -q --out run

expect 0 generate run "the old" --seed 5 -n 30
err_has "30 generated"
err_has "(stopped at --max-tokens)"
cp out first
[ "$(head -c 7 first)" = "the old" ] || fail "the text does not begin with the prompt"
expect 0 generate run "the old" --seed 5 -n 30 --threads 2 -q
cmp out first || fail "the same seed gives another text"
[ ! -s err ] || fail "--quiet speaks"
expect 0 generate run "the old" --seed 6 -n 30 -q
! cmp -s out first || fail "another seed gives the same text"
printf 'the old' | "$coterie" generate run - --seed 5 -n 30 -q >out
cmp out first || fail "a prompt from standard input gives another text"
expect 0 generate run "the old" --seed 5 -n 60 -q  # longer than the context of 16
[ "$(head -c 20 out)" = "$(head -c 20 first)" ] || fail "a longer text begins differently"
expect 0 generate run -q -n 5
[ -s out ] || fail "no text without a prompt"
expect 0 generate run "the old" --temperature 0 -n 20 -q
cp out best
expect 0 generate run "the old" --temperature 0 -n 20 --seed 9 -q
cmp out best || fail "the most probable text depends on the seed"
expect 0 generate run "the old" --top-k 1 -n 20 -q
cmp out best || fail "the best of one is not the most probable text"
expect 0 generate run "the old" --top-p 1e-9 -n 20 -q
cmp out best || fail "the fewest that reach nothing are not one"
expect 0 generate run "the old" --min-p 1 --temperature 2 -n 20 -q
cmp out best || fail "those as probable as the best are not one"
expect 0 generate run "the old" --temperature 0 -n 20 --precision bf16 --repetition-penalty 1.5 -q

# A stop text is cut off; what stood before it stays.
stop=$(tail -c +12 first | head -c 3)
expect 0 generate run "the old" --seed 5 -n 30 --stop "never this" --stop "$stop"
grep -q "(stopped at --max-tokens)" err && fail "a stop text stops nothing"
python3 - "$stop" <<'PYTHON'
import sys
first, got, stop = open("first").read(), open("out").read(), sys.argv[1]
assert got[-1] == "\n" and first.startswith(got[:-1]), (first, got)
assert first[7:].index(stop) == len(got) - 1 - 7, (first, got, stop)
PYTHON

# Experts: their numbers behind the tokens, and a sum; nothing but the numbers is added.
expect 0 generate run "the old" --seed 5 -n 30 --explain
err_has "layer 1, tokens of each expert:"
grep -q '\[[0-3]\]' out || fail "no experts"
[ "$(grep -o '\[[0-3]\]' out | wc -l)" = 30 ] || fail "not one expert a token"
sed 's/\[[0-3]\]//g' out | cmp - first || fail "--explain changes the text"
refuses "layer 0 has no experts to explain" generate run "" --explain --layer 0
refuses "layer 7 has no experts to explain" generate run "" --explain --layer 7

# On a terminal in colour, unless NO_COLOR says otherwise.
on_terminal() {
    python3 - "$coterie" generate run "the old" --seed 5 -n 30 --explain >"$1" <<'PYTHON'
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
text = b""
try:
    while chunk := os.read(terminal, 4096):
        text += chunk
except OSError:  # the other side is closed
    pass
sys.stdout.buffer.write(text)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
PYTHON
}
TERM=xterm NO_COLOR='' on_terminal coloured
grep -q "$(printf '\033\[38;5;')" coloured || fail "no colour on a terminal"
TERM=xterm NO_COLOR=1 on_terminal plain
! grep -q "$(printf '\033\[[0-9;]*m')" plain || fail "colour in spite of NO_COLOR"

refuses "'absent': no such folder; expected one with a model" generate absent
refuses "'texts' is no model: it has no config.json" generate texts
mkdir bare && cp run/config.json run/model.safetensors bare/
refuses "bare has no tokenizer.json" generate bare "a"
for bad in --temperature=-1 --top-p=2 --top-p=0 --min-p=-1 --top-k=-1 --repetition-penalty=0 --max-tokens=0 --seed=x --precision=f16; do
    expect 2 generate run "a" $bad
    err_has "${bad%%=*} is '${bad#*=}', expected "
    [ ! -s out ] || fail "$bad: text in spite of it"
done
expect 2 generate
expect 2 generate run "the" "old"
echo "texts go on as they should"
