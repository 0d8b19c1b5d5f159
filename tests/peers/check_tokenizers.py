"""Tokenizers against Hugging Face's tokenizers and against sentencepiece: the same ids and the same text back, over 12 MB.

    check_tokenizers.py DUMP_TOKENS [--shared FOLDER] [--mb 12]

Tokenizers come from two places. Some are trained here, by the libraries themselves, with the settings of published ones:
GPT-2's, Llama-3's and Qwen's patterns, NFC and NFKC, Metaspace, SentencePiece with and without byte fallback, BPE and
unigram. With --shared (or $COTERIE_SHARED) the published GPT-2, OLMoE and Mixtral ones are compared too.

No difference is allowed. Characters that the two sides' Unicode tables see differently would show here and are listed.
"""
import argparse
import base64
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unicodedata

import numpy
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from mixed_text import mixed_documents, read_results, write_documents

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
            " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
failures = 0


def report(fine, text):
    global failures
    failures += not fine
    print(f"  {'ok  ' if fine else 'FAIL'} {text}", flush=True)


# ---- tokenizers that are trained here ----

def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_level(corpus, cut, normalizer=None, added=(), **model):
    tokenizer = Tokenizer(models.BPE(**model))
    bare = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cut, bare]) if isinstance(cut, list) else cut
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=3000, show_progress=False, special_tokens=["<|endoftext|>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens(list(added))
    return tokenizer


def characters(corpus, cut, **model):
    """Hugging Face's BPE over characters with U+2581 for spaces."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **model))
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=3000, show_progress=False, special_tokens=["<unk>"], limit_alphabet=400)
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def unigram(corpus):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=2000, show_progress=False, special_tokens=["<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def hugging_face_tokenizers(corpus):
    """Names, and what makes the tokenizers."""
    added = [AddedToken("  ", normalized=True), AddedToken("    ", normalized=True), AddedToken("[INST]", lstrip=True),
             AddedToken("don", single_word=True), AddedToken("<|x|>", rstrip=True, normalized=False)]
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    lower = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
    bare = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    meta = pre_tokenizers.Metaspace
    return {
        "GPT-2's pattern": lambda: byte_level(corpus, gpt2),
        "GPT-2's pattern, prefix space": lambda: byte_level(corpus, pre_tokenizers.ByteLevel(add_prefix_space=True)),
        "Llama-3's pattern": lambda: byte_level(corpus, [split(LLAMA3)], ignore_merges=True),
        "Qwen's pattern, NFC": lambda: byte_level(corpus, [split(QWEN)], normalizers.NFC()),
        "o200k's pattern": lambda: byte_level(corpus, [split(O200K)]),
        "DeepSeek's patterns": lambda: byte_level(corpus, [split(p) for p in DEEPSEEK]),
        "NeoX: NFC, added white space": lambda: byte_level(corpus, gpt2, normalizers.NFC(), added),
        "NFKC, lower case, digits": lambda: byte_level(corpus, [pre_tokenizers.Digits(True), split(LLAMA3)], lower),
        "NFD without accents": lambda: byte_level(corpus, gpt2, bare),
        **{f"punctuation, {cut}": lambda cut=cut: byte_level(corpus, [split(r"\p{P}", cut), pre_tokenizers.Punctuation()])
           for cut in ("removed", "merged_with_previous", "merged_with_next", "contiguous")},
        "Metaspace": lambda: characters(corpus, meta(prepend_scheme="first"), fuse_unk=True),
        "Metaspace behind white space": lambda: characters(
            corpus, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), meta()])),
        "words alone": lambda: characters(corpus, pre_tokenizers.Whitespace()),
        "Unigram, NFKC": lambda: unigram(corpus),
    }


def sentencepiece_models(corpus, work, only):
    text = work / "corpus.txt"
    text.write_text("\n".join(line[:2000] for part in corpus for line in part.splitlines() if line.strip()))
    settings = {
        "BPE, byte fallback, as Llama": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
                                             remove_extra_whitespaces=False, split_digits=True),
        "BPE, NFKC": dict(model_type="bpe", normalization_rule_name="nfkc"),
        "BPE, symbols of users": dict(model_type="bpe", user_defined_symbols=["[INST]", "...", "don't"]),
        "unigram, NFKC, as T5": dict(model_type="unigram", normalization_rule_name="nmt_nfkc"),
        "unigram, byte fallback": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="identity",
                                       remove_extra_whitespaces=False),
        "unigram, symbols of users, case folded": dict(model_type="unigram", normalization_rule_name="nmt_nfkc_cf",
                                                       user_defined_symbols=["[INST]", "...", "don't"]),
    }
    for name, options in settings.items():
        if only not in name:
            continue
        prefix = work / "trained"
        sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=str(prefix), vocab_size=2500,
                                                 character_coverage=0.995, minloglevel=2, num_threads=2, **options)
        yield name, prefix.with_suffix(".model")


# ---- published ones ----

def gpt2_from_ranks(path):
    """GPT-2's tokenizer.json from the list of its tokens in the order in which they were merged."""
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in open(path, "rb"))}
    alphabet = dict(zip(sorted(pre_tokenizers.ByteLevel.alphabet()), range(256)))
    visible = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    signs = {b: chr(b) for b in visible} | {b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in visible)}
    assert set(signs.values()) == set(alphabet)
    key = lambda token: "".join(signs[b] for b in token)
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            of = [ranks.get(a + b, rank) for a, b in zip(parts, parts[1:])]
            best = of.index(min(of))
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        if len(parts) == 2:
            merges.append((key(parts[0]), key(parts[1])))
    tokenizer = Tokenizer(models.BPE({key(token): rank for token, rank in ranks.items()}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def llama_from_sentencepiece(path):
    """The tokenizer.json that transformers makes of Llama's and Mixtral's models."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    ids = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for piece, rank in ids.items():
        found = [(piece[:i], piece[i:], rank) for i in range(1, len(piece)) if piece[:i] in ids and piece[i:] in ids]
        merges += sorted(found, key=lambda merge: (ids[merge[0]], ids[merge[1]]))
    merges.sort(key=lambda merge: -model.get_score(merge[2]))
    tokenizer = Tokenizer(models.BPE(ids, [m[:2] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return tokenizer


# ---- comparing ----

def first_difference(text, ours, theirs):
    n = min(len(ours), len(theirs))
    apart = numpy.nonzero(ours[:n] != theirs[:n])[0]
    at = int(apart[0]) if len(apart) else n
    return f"token {at}: {ours[at:at + 6].tolist()}, theirs {theirs[at:at + 6].tolist()}"


def compare(name, documents, results, encode, decode):
    different, tokens, shown = 0, 0, []
    for text, (ids, back) in zip(documents, results):
        theirs = numpy.array(encode(text), dtype=numpy.int32)
        tokens += len(theirs)
        same = len(ids) == len(theirs) and (ids == theirs).all()
        text_back = decode(theirs.tolist())
        if same and back.decode(errors="replace") == text_back:
            continue
        different += 1
        if len(shown) < 3:
            shown.append(first_difference(text, ids, theirs) if not same else f"decoded: {describe(back, text_back)}")
    report(not different, f"{name}: {tokens} tokens, {different} of {len(documents)} documents differ")
    for line in shown:
        print(f"         {line}")


def describe(ours, theirs):
    ours = ours.decode(errors="replace")
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    return f"character {at}: {ours[at - 9:at + 9]!r}, theirs {theirs[at - 9:at + 9]!r}"


def run(dump, tokenizer, documents, out, special):
    subprocess.run([dump, "encode", tokenizer, documents, out, "special" if special else "plain"], check=True)
    return read_results(out)


def compare_hugging_face(dump, name, tokenizer, documents, work):
    tokenizer.save(str(work / "tokenizer.json"))
    for special in False, True:
        tokenizer.encode_special_tokens = not special
        results = run(dump, work / "tokenizer.json", work / "documents", work / "out", special)
        compare(name + (", special tokens" if special else ""), documents, results,
                lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
                lambda ids: tokenizer.decode(ids, skip_special_tokens=False))


def compare_sentencepiece(dump, name, path, documents, work):
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    results = run(dump, path, work / "documents", work / "out", False)
    compare(name, documents, results, model.encode, model.decode)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dump")
    parser.add_argument("--shared", default=os.environ.get("COTERIE_SHARED"))
    parser.add_argument("--mb", type=float, default=12)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    documents, size = mixed_documents(int(arguments.mb * 1e6))
    corpus = [d[:8000] for d in documents[::4]]
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        write_documents(documents, work / "documents")
        print(f"{len(documents)} documents, {size / 1e6:.1f} MB; Unicode {unicodedata.unidata_version}")
        if arguments.shared:
            published = pathlib.Path(arguments.shared) / "tokenizers"
            mixtral = published / "mixtral-8x7b.sentencepiece.model"
            print("published, against Hugging Face's tokenizers:")
            for name, make in (("GPT-2", lambda: gpt2_from_ranks(published / "gpt2.tiktoken")),
                               ("OLMoE", lambda: Tokenizer.from_file(str(published / "olmoe.gpt-neox.tokenizer.json"))),
                               ("Mixtral", lambda: llama_from_sentencepiece(mixtral))):
                if arguments.only in name:
                    compare_hugging_face(arguments.dump, name, make(), documents, work)
            print("published, against sentencepiece:")
            if arguments.only in "Mixtral":
                compare_sentencepiece(arguments.dump, "Mixtral", mixtral, documents, work)
        print("trained here, against Hugging Face's tokenizers:")
        for name, make in hugging_face_tokenizers(corpus).items():
            if arguments.only in name:
                compare_hugging_face(arguments.dump, name, make(), documents, work)
        print("trained here, against sentencepiece:")
        for name, path in sentencepiece_models(corpus, work, arguments.only):
            compare_sentencepiece(arguments.dump, name, path, documents, work)
    sys.exit(failures != 0)


main()
