"""Tokenizers beside Hugging Face's and SentencePiece's on the same cores: encoding and BPE training, in turn.

    compare_tokenizers.py DUMP_TOKENS [--shared FOLDER] [--rounds 5] [--threads 2]

Encoding: documents of 64 KiB, all of them handed over at once (encode_batch there, a loop over threads here), MB/s of
UTF-8, the median of the rounds. The first round, which fills caches, does not count. Training: 8192 tokens on the demo's
text; theirs from an iterator over the same documents. Texts: the demo's, and the random mix of tests/peers/mixed_text.py.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "tests" / "peers"))
VOCAB_SIZE = 8192


def ours(a, command, text=None):
    environment = dict(os.environ, OMP_NUM_THREADS=str(a.threads), OMP_WAIT_POLICY="passive")
    return subprocess.run([a.dump, *map(str, command)], env=environment, check=True, capture_output=True, text=True).stdout


def our_speed(a, tokenizer, documents, size):
    seconds = [float(line.split()[0]) for line in ours(a, ["time", tokenizer, documents, a.rounds + 1]).splitlines()[1:]]
    return size / statistics.median(seconds) / 1e6


def their_speed(a, encode, size):
    seconds = []
    for _ in range(a.rounds + 1):
        start = time.perf_counter()
        encode()
        seconds.append(time.perf_counter() - start)
    return size / statistics.median(seconds[1:]) / 1e6


def line(name, unit, mine, theirs):
    print(f"{name:58s} {mine:8.2f} {theirs:8.2f} {unit:5s} {mine / theirs if unit == 'MB/s' else theirs / mine:6.1f} x", flush=True)


def bench_encoding(a, published, work):
    import sentencepiece
    from mixed_text import mixed_documents, real_documents, write_documents
    mixed, _ = mixed_documents(int(a.mb * 1e6))
    texts = {"the demo's text": real_documents()[:int(a.mb * 1e6 / (1 << 16))], "mixed text": mixed}
    for kind, documents in texts.items():
        size = sum(len(d.encode()) for d in documents)
        write_documents(documents, work / "documents")
        for name, tokenizer in published.items():
            tokenizer.save(str(work / "tokenizer.json"))
            line(f"{name}, {kind} ({size / 1e6:.1f} MB)", "MB/s", our_speed(a, work / "tokenizer.json", work / "documents", size),
                 their_speed(a, lambda: tokenizer.encode_batch_fast(documents, add_special_tokens=False), size))
        if a.shared:
            path = pathlib.Path(a.shared) / "tokenizers" / "mixtral-8x7b.sentencepiece.model"
            model = sentencepiece.SentencePieceProcessor(model_file=str(path))
            line(f"Mixtral, {kind}, against sentencepiece", "MB/s", our_speed(a, path, work / "documents", size),
                 their_speed(a, lambda: model.encode(documents, num_threads=a.threads), size))


def bench_training(a, work):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from mixed_text import real_documents, write_documents
    documents = real_documents()
    write_documents(documents, work / "documents")
    mine, theirs = [], []
    (work / "trained").mkdir()
    for _ in range(a.rounds):
        mine.append(float(ours(a, ["train", work / "documents", VOCAB_SIZE, work / "trained"]).split()[0]))
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, min_frequency=2, show_progress=False, special_tokens=["<|endoftext|>"],
                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        start = time.perf_counter()
        tokenizer.train_from_iterator(documents, trainer)
        theirs.append(time.perf_counter() - start)
    size = sum(len(d.encode()) for d in documents)
    line(f"BPE training, {VOCAB_SIZE} tokens, {size / 1e6:.1f} MB", "s", statistics.median(mine), statistics.median(theirs))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dump")
    parser.add_argument("--shared", default=os.environ.get("COTERIE_SHARED"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--mb", type=float, default=5)
    a = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(a.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    from trained_tokenizers import hugging_face_tokenizers, published_tokenizers
    published = published_tokenizers(a.shared)
    if not published:
        from mixed_text import real_documents
        makers = hugging_face_tokenizers(real_documents()[:40])
        published = {name: makers[name]() for name in ("GPT-2's pattern", "Llama-3's pattern", "Qwen's pattern, NFC", "Metaspace")}
    with tempfile.TemporaryDirectory() as folder:
        print(f"{a.threads} threads, medians of {a.rounds} rounds" + " " * 26 + "ours    theirs")
        bench_encoding(a, published, pathlib.Path(folder))
        bench_training(a, pathlib.Path(folder))


main()
