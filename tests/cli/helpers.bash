# For the scripts beside it: `source "$2/tests/cli/helpers.bash"` makes a folder to work in, which goes when the script ends, and leaves
# the program's path in $coterie.
coterie=$1
source_dir=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1  # tests share their processors
unset NO_COLOR

fail() { echo "FAILED: $*"; tail -n 20 out err 2>/dev/null; exit 1; }

# expect CODE WORDS...: runs coterie and checks its exit code; output is in ./out and ./err.
expect() {
    local want=$1 code=0
    shift
    "$coterie" "$@" >out 2>err </dev/null || code=$?
    [ "$code" = "$want" ] || fail "coterie $*: exit code $code, expected $want"
    ! grep -q "$(printf '\033')" out err || fail "coterie $*: escape codes although nobody looks"
}
out_has() { grep -qF -- "$1" out || fail "stdout lacks: $1"; }
err_has() { grep -qF -- "$1" err || fail "stderr lacks: $1"; }
# refuses MESSAGE WORDS...: exit code 1, nothing on stdout, one line on stderr with the message.
refuses() {
    local message=$1
    shift
    expect 1 "$@"
    err_has "$message"
    [ "$(wc -l <err)" = 1 ] || fail "coterie $*: more than one line on stderr"
    [ ! -s out ] || fail "coterie $*: an error prints on stdout"
}
# wait_for SECONDS WORDS...: until a command succeeds.
wait_for() {
    local tries=$((100 * $1))
    shift
    until "$@" 2>/dev/null; do
        [ $((tries -= 1)) -gt 0 ] || fail "waited too long for: $*"
        sleep 0.01
    done
}

# Two sources of text, and a recipe that learns them in well under a second: a dense layer and a sparse one.
make_corpus() {
    mkdir -p texts
    awk 'BEGIN { srand(1); split("the old sailor sang to a grey sea and mountains answered slowly", w, " ");
        for (i = 1; i <= 1800; i++) printf "%s%s", w[1 + int(12 * rand())], i % 11 ? " " : ".\n" }' >texts/sailor.txt
    awk 'BEGIN { srand(2); split("int x = 0 ; return y + 1 while ( z ) { }", w, " ");
        for (i = 1; i <= 1800; i++) printf "%s%s", w[1 + int(16 * rand())], i % 7 ? " " : "\n" }' >texts/code.txt
    cat >tiny.yaml <<'YAML'
model:
  kind: lm
  hidden_size: 16
  num_layers: 2
  mixer: {kind: attention, num_heads: 2}
  ffn: {kind: dense, intermediate_size: 24}
  layers:
    - at: 1
      ffn:
        kind: sparse
        router: {kind: top_k, top_k: 2}
        experts: {kind: ffn, num_experts: 4, intermediate_size: 12}
        balance: [{kind: aux, coef: 0.01}]
data: {path: texts, cache_dir: cache, tokenizer: {kind: bpe, vocab_size: 300}, context: 16}
train:
  steps: 40
  batch: 8
  precision: f32
  optimizer: {kind: adamw, lr: 1e-2}
  seed: 3
YAML
}
