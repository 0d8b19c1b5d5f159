#!/usr/bin/env bash
# The program's frame: help, versions, unknown words, exit codes, silence where asked for.
set -eu
coterie=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "FAILED: $*"; cat "$work/out" "$work/err"; exit 1; }

# expect CODE WORDS...: runs coterie and checks its exit code; output is in $work/out and $work/err.
expect() {
    local want=$1 code=0
    shift
    "$coterie" "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?
    [ "$code" = "$want" ] || fail "coterie $*: exit code $code, expected $want"
}
out_has() { grep -qF -- "$1" "$work/out" || fail "stdout lacks: $1"; }
err_is() { printf '%s\n' "$@" | diff - "$work/err" || fail "stderr is not as expected"; }
silent() { [ ! -s "$work/$1" ] || fail "std$1 is not empty"; }

expect 0
out_has "Commands:"
for way in --help -h help; do
    cp "$work/out" "$work/overview"
    expect 0 $way
    cmp -s "$work/out" "$work/overview" || fail "$way differs from no argument"
    silent err
done
expect 0 --version
grep -qE '^coterie [0-9]+\.[0-9]+\.[0-9]+$' "$work/out" || fail "no version"

# Every command explains itself, with examples, in lines that fit.
commands=$(sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' "$work/overview" | grep -v '^help$')
[ -n "$commands" ] || fail "no commands"
for command in $commands; do
    expect 0 "$command" --help
    out_has "Usage:"
    out_has "coterie $command"
    awk 'length > 100 && !/^  coterie/' "$work/out" | grep . && fail "help of $command has long lines"
    cp "$work/out" "$work/help"
    expect 0 help "$command"
    cmp -s "$work/out" "$work/help" || fail "help $command differs from $command --help"
done

expect 2 lsit
err_is "coterie: unknown command 'lsit'; did you mean 'list'? (commands: $(echo $commands | sed 's/ /, /g'))"
silent out
expect 2 help lsit
expect 2 list --jsno
err_is "coterie list: unknown option '--jsno'; did you mean '--json'?" '(`coterie list --help` explains)'
expect 2 list -x
err_is "coterie list: unknown option '-x'" '(`coterie list --help` explains)'
expect 2 list --json=1
err_is "coterie list: --json takes no value" '(`coterie list --help` explains)'
expect 2 list routers top_k more
err_is "coterie list: unexpected argument 'more'" '(`coterie list --help` explains)'
expect 2 list --threads
err_is "coterie list: --threads needs a value: --threads N" '(`coterie list --help` explains)'
for bad in two -1 4097 1.5; do
    expect 2 list --threads $bad
    err_is "coterie list: --threads is '$bad', expected a whole number from 0 to 4096" '(`coterie list --help` explains)'
done
expect 2 --tread 1 list
expect 0 --threads 1 list
expect 0 list --threads=1
expect 0 list -q -- routers

# A full disk is noticed.
if [ -w /dev/full ]; then
    code=0
    "$coterie" list >/dev/full 2>"$work/err" || code=$?
    [ $code = 1 ] || fail "a full disk goes unnoticed"
fi
# No escape codes where nobody looks.
expect 0 list routers
grep -q "$(printf '\033')" "$work/out" && fail "escape codes in a pipe"
# On a terminal there are, unless NO_COLOR says otherwise.
on_terminal() {
    python3 - "$coterie" list routers >"$work/out" <<'PYTHON'
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
TERM=xterm NO_COLOR='' on_terminal
grep -q "$(printf '\033')" "$work/out" || fail "no colour on a terminal"
TERM=xterm NO_COLOR=1 on_terminal
grep -q "$(printf '\033')" "$work/out" && fail "colour in spite of NO_COLOR"
echo "the frame holds"
