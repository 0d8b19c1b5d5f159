#!/usr/bin/env bash
# coterie tokenizer: train, encode, decode and show on a small text.
set -eu
coterie=$1
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "FAILED: $*"; exit 1; }
says() { grep -qF -- "$2" "$1" || { cat "$1"; fail "$1 lacks: $2"; }; }
refuses() {
    local message=$1
    shift
    ! "$coterie" tokenizer "$@" >out 2>err </dev/null || fail "accepted: $*"
    says err "$message"
    [ "$(wc -l <err)" = 1 ] || fail "more than one line for: $*"
}

# A text with quotes and a hash in its path: nothing of it is taken for YAML.
mkdir "it's #1"
cat "$source"/src/base/*.c >"it's #1/code.txt"
"$coterie" tokenizer train "it's #1/code.txt" --vocab-size 600 -o made >out
says out "made/tokenizer.json: 600 symbols"
[ -f made/tokenizer.json ] && [ -f made/tokenizer_config.json ] || fail "files are missing"
"$coterie" tokenizer train "it's #1" --vocab-size=600 --out again --quiet >out
cmp made/tokenizer.json again/tokenizer.json || fail "a folder with one file gives another tokenizer"
[ ! -s out ] || fail "--quiet speaks"

# Any bytes come back.
for file in "it's #1/code.txt" "$coterie"; do
    head -c 300000 "$file" >bytes
    "$coterie" tokenizer encode made <bytes >ids
    "$coterie" tokenizer decode made <ids | cmp - bytes || fail "$file does not come back"
    "$coterie" tokenizer encode made/tokenizer.json --json <bytes | "$coterie" tokenizer decode made | cmp - bytes || fail "JSON ids differ"
done
"$coterie" tokenizer encode made --json </dev/null >out
[ "$(cat out)" = "[]" ] || fail "nothing is not nothing"
[ "$("$coterie" tokenizer encode made a b)" = "$("$coterie" tokenizer encode made "a b")" ] || fail "words are not joined"

# Special tokens only where they are asked for.
[ "$("$coterie" tokenizer encode made --special '<|endoftext|>')" = 0 ] || fail "special token is text"
[ "$("$coterie" tokenizer encode made '<|endoftext|>' | wc -w)" -gt 1 ] || fail "text became a special token"
[ "$("$coterie" tokenizer decode made 0)" = '<|endoftext|>' ] || fail "special token is not decoded"
[ -z "$("$coterie" tokenizer decode made --no-special 0)" ] || fail "special token is not left out"

"$coterie" tokenizer show made >out
says out "600 symbols; end of text: \"<|endoftext|>\""
"$coterie" tokenizer show made "if (return)" >out
says out "11 bytes"
"$coterie" tokenizer show made --all | tail -n +4 >out
[ "$(wc -l <out)" = 600 ] || fail "not all tokens are shown"
"$coterie" tokenizer show made --all --json | python3 -c '
import json, sys
shown = json.load(sys.stdin)
assert shown["vocab_size"] == 600 and shown["special_tokens"] == ["<|endoftext|>"] and len(shown["tokens"]) == 600, shown'

printf 'ok\n\xff\xfe\n' >bad.txt
refuses "coterie: " train nowhere -o none
refuses "bad.txt" train bad.txt -o none
[ ! -e none ] || fail "something is written after a failure"
refuses "'x' is no token id" decode made 5 x
refuses "600" decode made 600
refuses "-3" decode made -- -3
refuses "nowhere" encode nowhere text
refuses "coterie: out: cannot be made a folder" train "it's #1" -o out
code=0
"$coterie" tokenizer tran 2>err || code=$?
[ $code = 2 ] || fail "a wrong word gives exit code $code"
says err "did you mean 'train'?"
"$coterie" tokenizer train --help >out
says out "--vocab-size N"
echo "the tokenizer commands work"
