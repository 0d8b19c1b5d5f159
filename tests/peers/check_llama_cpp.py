"""Exported GGUF files in llama.cpp (through llama-cpp-python).

    check_llama_cpp.py COTERIE

Trains a dense and a sparse model on the demo's texts for some seconds, exports them in every type, and lets llama.cpp read texts, score and go on.

  token ids   of texts with every kind of character: the same
  f32         the same 64 tokens from several prompts, always the most probable one; logits within 1e-4 of their largest: both sides sum some hundred
              products in f32 (6e-8) through some layers. llama.cpp is told to keep keys and values in f32.
  f16, bf16   loss within 0.1 % and 0.5 %: weights of 11 and 8 bits, and llama.cpp rounds what it multiplies them with likewise
  q8_0        loss within 1 %
"""
import json, os, pathlib, subprocess, sys, tempfile

import llama_cpp, numpy
from safetensors.numpy import load_file

from peers_table import record

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONTEXT, SEQUENCES, GREEDY = 128, 8, 64
LOSS_LIMIT = {"f16": 0.1, "bf16": 0.5, "q8_0": 1.0}  # %

# Everything that the exporter treats on its own: grouped heads wider than the model, an output matrix, rows that do not divide by 32.
DENSE = """
  hidden_size: 96
  num_layers: 3
  tie_word_embeddings: false
  rms_norm_eps: 1e-4
  mixer: {kind: attention, num_heads: 4, num_kv_heads: 2, head_dim: 40, rope_theta: 5000}
  ffn: {kind: dense, intermediate_size: 200}"""
SPARSE = """
  hidden_size: 96
  num_layers: 3
  mixer: {kind: attention, num_heads: 4}
  ffn: {kind: sparse, router: {kind: top_k, top_k: 2}, experts: {kind: ffn, num_experts: 8, intermediate_size: 96}, balance: [{kind: aux, coef: 0.01}]}"""

# What else the exporter has to say: settings of `mixer`, of `ffn`.
VARIANTS = {
    "biases everywhere": ("bias: true, out_bias: true", "bias: true"),
    "rope linear": ("rope_scaling: {rope_type: linear, factor: 3}", ""),
    "rope yarn": ("rope_scaling: {rope_type: yarn, factor: 4, original_max_position_embeddings: 32}", ""),
    "rope yarn, its own factor": ("rope_scaling: {rope_type: yarn, factor: 4, original_max_position_embeddings: 32, attention_factor: 0.7}", ""),
    "rope llama3": ("rope_scaling: {rope_type: llama3, factor: 8, original_max_position_embeddings: 32}", ""),
}

PROMPTS = ["ROMEO:", "Y dijo Dios", "static int ", "Der Rechner "]
TEXTS = ["ROMEO:\nBut, soft! what light through yonder window breaks?", "  two  spaces,\ttabs\n\n\nand lines  \n", "it's we'LL they've I'd 'tis 12345 3.14 x2",
         "¿Qué dijo Dios? naïve Ärger œuvre ÅÅ", "日本語の文章です。한국어 हिन्दी العربية עברית ไทย", "🙂🙃 👩‍👩‍👧‍👦 🇩🇪 e\u0301 a\u0308\u0323 \u200b\u00a0\u2003x\u3000y\ufeff",
         "int main(void)\n{\n\treturn x->y[3] != 0x1F;  // ...\r\n}\n", "½ ² Ⅷ ٣ ५ ① 𝟘 _ __ ~~~ $€£ №", " ", "\n", "\n \n  \t x", "a" * 300]

failures = 0


def check(what, difference, limit, unit="", note=True):
    global failures
    good = difference <= limit
    failures += not good
    print(f"  {'ok  ' if good else 'FAIL'} {what}: {difference:.2g}{unit and ' ' + unit} (limit {limit:g})", flush=True)
    if note:
        record("llama_cpp_python", what, difference, limit, unit)


def coterie(*words, text=None):
    done = subprocess.run([sys.argv[1], *map(str, words)], input=text, capture_output=True, env=os.environ | {"OMP_WAIT_POLICY": "passive"})
    if done.returncode:
        sys.exit(f"coterie {' '.join(map(str, words))}: {done.stderr.decode()}")
    return done.stdout


@llama_cpp.llama_log_callback
def log(level, text, _):
    if level == 4:  # an error
        sys.stderr.write(text.decode(errors="replace"))


def data(work, tokenizer="{kind: bpe, vocab_size: 1024}"):
    return f"data: {{path: {ROOT}/data/demo, cache_dir: {work}/cache, context: {CONTEXT}, tokenizer: {tokenizer}}}\n"


def open_gguf(path):
    llama_cpp.llama_log_set(log, None)
    f32 = llama_cpp.GGML_TYPE_F32
    return llama_cpp.Llama(str(path), n_ctx=CONTEXT, logits_all=True, type_k=f32, type_v=f32, flash_attn=False, n_threads=2, n_threads_batch=2,
                           verbose=False)


def their_logits(llama, ids):
    llama.reset()
    llama.eval(ids)
    return numpy.array(llama.scores[: len(ids)])


def our_logits(model, ids, work):
    (work / "ids.json").write_text(json.dumps(ids))
    coterie("eval", model, "--tokens", work / "ids.json", "--logits", work / "logits.safetensors")
    return load_file(work / "logits.safetensors")["logits"]


def loss(logits, ids):
    rows = logits[:-1].astype(numpy.float64)
    top = rows.max(1)
    return numpy.mean(top + numpy.log(numpy.exp(rows - top[:, None]).sum(1)) - rows[numpy.arange(len(rows)), ids[1:]])


def go_on(llama, ids):
    """Text of GREEDY tokens, always the most probable one."""
    llama.reset()
    llama.eval(ids)
    out = []
    while len(out) < GREEDY:
        following = int(numpy.argmax(llama.scores[llama.n_tokens - 1]))
        if following == llama.token_eos():
            break
        out.append(following)
        llama.eval([following])
    return llama.detokenize(ids + out, special=True)


def compare_ids(model, llama, what=""):
    wrong = 0
    for text in TEXTS + [TEXTS[0] + "<|endoftext|>" + TEXTS[1]]:
        ours = json.loads(coterie("tokenizer", "encode", model, "--json", "--special", text=text.encode()))
        theirs = llama.tokenize(text.encode(), add_bos=False, special=True)
        if ours != theirs:
            wrong += 1
            print(f"       {text!r}: {ours} here, {theirs} there")
    check(f"{what}token ids: texts that differ", wrong, 0)


def relative(ours, theirs):
    return numpy.abs(ours - theirs).max() / numpy.abs(ours).max()


def compare_variant(name, mixer, ffn, work):
    """Some large steps, so that everything is away from its start."""
    recipe = work / "variant.yaml"
    recipe.write_text(f"model:\n  kind: lm\n  hidden_size: 48\n  num_layers: 2\n  init_std: 0.2\n  mixer: {{kind: attention, num_heads: 3, num_kv_heads: 1, "
                      f"{mixer}}}\n  ffn: {{kind: dense, intermediate_size: 64, {ffn}}}\n{data(work)}"
                      "train: {steps: 4, batch: 4, optimizer: {kind: adamw, lr: 5e-2}}\n")
    model, ids = work / name.replace(" ", "-"), list(range(40, 40 + CONTEXT))
    coterie("train", recipe, "--out", model, "-q")
    coterie("export", model, "--type", "f32", "-o", work / "variant.gguf", "-q")
    difference = relative(our_logits(model, ids, work), their_logits(open_gguf(work / "variant.gguf"), ids))
    check(f"{name}, f32: logits, relative to the largest", difference, 1e-4)


def compare_characters(work):
    """BPE over characters with byte fallback, as Llama's and Mixtral's."""
    recipe, model = work / "characters.yaml", work / "characters"
    tokenizer = f"{{path: {ROOT}/tests/data/tokenizers/llama.json}}"
    recipe.write_text(f"model:\n  kind: lm{SPARSE}\n{data(work, tokenizer)}train: {{steps: 2, batch: 2, optimizer: {{kind: adamw, lr: 1e-3}}}}\n")
    coterie("train", recipe, "--out", model, "-q")
    coterie("export", model, "--type", "f32", "-o", work / "characters.gguf", "-q")
    compare_ids(model, open_gguf(work / "characters.gguf"), "byte fallback, ")


def compare(kind, model, work):
    print(f"{kind}:")
    files = {kind: work / f"{kind}.gguf" for kind in ("f32", "f16", "bf16", "q8_0")}
    for stored, path in files.items():
        coterie("export", model, "--type", stored, "-o", path, "-q")
    text = (ROOT / "data/demo/drama.txt").read_bytes()[-60000:] + (ROOT / "data/demo/source-c.txt").read_bytes()[-60000:]
    ids = json.loads(coterie("tokenizer", "encode", model, "--json", text=text))
    step = len(ids) // SEQUENCES
    sequences = [ids[i * step : i * step + CONTEXT] for i in range(SEQUENCES)]
    ours = [our_logits(model, s, work) for s in sequences]
    our_loss = numpy.mean([loss(logits, s) for logits, s in zip(ours, sequences)])
    llama = open_gguf(files["f32"])
    compare_ids(model, llama)
    theirs = [their_logits(llama, s) for s in sequences]
    check(f"{kind}, f32: logits, relative to the largest", max(map(relative, ours, theirs)), 1e-4)
    other = 0
    for prompt in PROMPTS:
        here = coterie("generate", model, prompt, "--temperature", "0", "-n", GREEDY, "-q")[:-1]
        there = go_on(llama, llama.tokenize(prompt.encode(), add_bos=False, special=True))
        if here != there:
            other += 1
            print(f"       {here!r} here\n       {there!r} there")
    check(f"{kind}, f32: greedy texts of {GREEDY} tokens that differ", other, 0)
    for stored, limit in LOSS_LIMIT.items():
        llama = open_gguf(files[stored])
        their_loss = numpy.mean([loss(their_logits(llama, s), s) for s in sequences])
        check(f"{kind}, {stored}: loss", 100 * abs(their_loss / our_loss - 1), limit, "%")
    print(f"       loss {our_loss:.4f} nats a token")


def main():
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for kind, section in ("dense", DENSE), ("sparse", SPARSE):
            recipe = work / f"{kind}.yaml"
            recipe.write_text(f"model:\n  kind: lm{section}\n{data(work)}train: {{steps: 150, batch: 16, optimizer: {{kind: muon, lr: 1e-2}}, seed: 2}}\n")
            coterie("train", recipe, "--out", work / kind, "-q")
            compare(kind, work / kind, work)
        print("variants:")
        compare_characters(work)
        for name, (mixer, ffn) in VARIANTS.items():
            compare_variant(name, mixer, ffn, work)
    print("all agree" if not failures else f"{failures} checks failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
