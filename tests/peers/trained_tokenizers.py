"""Tokenizers to compare with: trained here by other libraries with the settings of published ones, and the published ones
of a folder that holds GPT-2's, OLMoE's and Mixtral's."""
import base64
import collections
import pathlib

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

MIXTRAL = "mixtral-8x7b.sentencepiece.model"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
            " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]


# ---- tokenizers that are trained here ----

def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_level(corpus, cut, normalizer=None, added=(), vocab_size=3000, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    bare = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cut, bare]) if isinstance(cut, list) else cut
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, special_tokens=["<|endoftext|>"],
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


def unigram(corpus, vocab_size=2000):
    """Of the corpus, characters as far as half of the vocabulary has room for them."""
    common = {c for c, _ in collections.Counter("".join(corpus)).most_common(vocab_size // 2)}
    corpus = ["".join(c for c in text if c in common) for text in corpus]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=vocab_size, show_progress=False, special_tokens=["<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def hugging_face_tokenizers(corpus, vocab_size=2000):
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
        "NeoX: NFC, added white space": lambda: byte_level(corpus, gpt2, normalizers.NFC(), added, vocab_size),
        "NFKC, lower case, digits": lambda: byte_level(corpus, [pre_tokenizers.Digits(True), split(LLAMA3)], lower),
        "NFD without accents": lambda: byte_level(corpus, gpt2, bare),
        **{f"punctuation, {cut}": lambda cut=cut: byte_level(corpus, [split(r"\p{P}", cut), pre_tokenizers.Punctuation()])
           for cut in ("removed", "merged_with_previous", "merged_with_next", "contiguous")},
        "Metaspace": lambda: characters(corpus, meta(prepend_scheme="first"), fuse_unk=True),
        "Metaspace behind white space": lambda: characters(
            corpus, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), meta()])),
        "words alone": lambda: characters(corpus, pre_tokenizers.Whitespace()),
        "Unigram, NFKC": lambda: unigram(corpus, vocab_size),
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
        options["hard_vocab_limit"] = options["model_type"] == "bpe"
        prefix = work / "trained"
        sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=str(prefix), vocab_size=2500,
                                                 character_coverage=0.98, minloglevel=2, num_threads=2, **options)
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
        merges += [(piece[:i], piece[i:], rank) for i in range(1, len(piece)) if piece[:i] in ids and piece[i:] in ids]
    merges.sort(key=lambda merge: (-model.get_score(merge[2]), -len(merge[0])))
    tokenizer = Tokenizer(models.BPE(ids, [m[:2] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return tokenizer


def published_tokenizers(shared):
    """By name, of the folder SHARED/data/tokenizers; none without it."""
    if not shared:
        return {}
    folder = pathlib.Path(shared) / "data/tokenizers"
    return {"GPT-2": gpt2_from_ranks(folder / "gpt2.tiktoken"),
            "OLMoE": Tokenizer.from_file(str(folder / "olmoe.gpt-neox.tokenizer.json")),
            "Mixtral": llama_from_sentencepiece(folder / MIXTRAL)}
