"""Answers of Hugging Face's tokenizers and of sentencepiece; makes tests/data/tokenizers and seeds for fuzzing.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3
    python3 tests/peers/tokenizer_vectors.py

    sections.json   pre_tokenizers[] and normalizers[]: a section of a tokenizer.json, and cases: text, what comes out
    *.json, *.model small tokenizers
    answers.json    for each of them cases: text, ids, and the text that the ids decode to
"""
import json
import pathlib
import random
import shutil
import tempfile

import sentencepiece
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

import mixed_text
from trained_tokenizers import (DEEPSEEK, LLAMA3, O200K, QWEN, hugging_face_tokenizers, llama_from_sentencepiece, split)

TESTS = pathlib.Path(__file__).resolve().parent.parent
FOLDER = TESTS / "data" / "tokenizers"
mixed_text.DOCUMENT = 80


def texts(rng, count):
    blocks, prose = mixed_text.by_block(), "".join(mixed_text.real_documents()[:20])
    return [mixed_text.random_document(rng, blocks, prose)[:200] for _ in range(count)]


def prose(rng, count):
    """Pieces of the demo's texts, with some of the words that are hard to cut."""
    documents = mixed_text.real_documents()[:60]
    out = []
    for _ in range(count):
        text = rng.choice(documents)
        start = rng.randrange(max(1, len(text) - 300))
        out.append(text[start:start + 300] + " " + " ".join(rng.sample(mixed_text.WORDS[:16], 3)))
    return out


def sections(samples):
    cuts = {"removed", "merged_with_previous", "merged_with_next", "contiguous", "isolated"}
    parts = [split(p) for p in (LLAMA3, QWEN, O200K, *DEEPSEEK)] + [split(r"\p{P}+?|\s{2,3}", cut) for cut in sorted(cuts)]
    parts += [split(r"[a-z]+", "removed", True), split(r"^\w|\w$|(?:ab?|\W)(?=\s)"), split(r"(?i:ſß|k+)|[^\S\n]{2,}")]
    parts += [pre_tokenizers.Split(" ", "merged_with_next"), pre_tokenizers.Digits(True), pre_tokenizers.Digits(False)]
    parts += [pre_tokenizers.Whitespace(), pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="first")]
    parts += [pre_tokenizers.Metaspace(prepend_scheme="always", split=False),
              pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="first")])]
    cut = [{"section": json.loads(part.__getstate__()),
            "cases": [[text, [piece for piece, _ in part.pre_tokenize_str(text)]] for text in samples]} for part in parts]
    rules = [normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD(), normalizers.Lowercase(),
             normalizers.Strip(), normalizers.Strip(left=False), normalizers.Prepend("▁"), normalizers.Replace("ab", "é"),
             normalizers.Replace(Regex(r" {2,}|\p{Lu}"), "_"),
             normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Replace(" ", "▁")])]
    changed = [{"section": json.loads(rule.__getstate__()), "cases": [[text, rule.normalize_str(text)] for text in samples]}
               for rule in rules]
    return {"about": "made by tests/peers/tokenizer_vectors.py", "pre_tokenizers": cut, "normalizers": changed}


def train(folder, name, corpus, **options):
    text = folder / "corpus.txt"
    text.write_text("\n".join(line for part in corpus for line in part.splitlines() if line.strip()))
    sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=str(folder / name), minloglevel=2,
                                             character_coverage=0.98, hard_vocab_limit=False, **options)
    return folder / f"{name}.model"


def small_models(folder, corpus):
    plain = dict(normalization_rule_name="identity", remove_extra_whitespaces=False)
    symbols = dict(user_defined_symbols=["[INST]", "don't"])
    return [train(folder, "bpe", corpus, model_type="bpe", vocab_size=500, byte_fallback=True, **plain),
            train(folder, "bpe-symbols", corpus, model_type="bpe", vocab_size=400, normalization_rule_name="identity", **symbols),
            train(folder, "unigram", corpus, model_type="unigram", vocab_size=400, normalization_rule_name="identity", **symbols),
            train(folder, "unigram-bytes", corpus, model_type="unigram", vocab_size=500, byte_fallback=True, **plain)]


def main():
    rng = random.Random(7)
    FOLDER.mkdir(exist_ok=True)
    samples = texts(rng, 5) + ["", " ", "  a  b", "a\n", "ab\nab", "İSTANBUL ſß K k", "x" * 60, " " * 70 + "y"]
    write = lambda name, value: (FOLDER / name).write_text(
        json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace('{"section"', '\n{"section"').replace('{"file"', '\n{"file"') + "\n")
    write("sections.json", sections(samples))
    corpus, answers = prose(rng, 250), []
    samples = texts(rng, 12) + prose(rng, 6) + samples + ["[INST] don't [INST]", " [INST]", "<unk><s></s>", "<0x41>"]
    with tempfile.TemporaryDirectory() as folder:
        for path in small_models(pathlib.Path(folder), corpus):
            model = sentencepiece.SentencePieceProcessor(model_file=str(path))
            cases = [[text, model.encode(text), model.decode(model.encode(text))] for text in samples]
            answers.append({"file": path.name, "cases": cases})
            shutil.copy(path, FOLDER / path.name)
            shutil.copy(path, TESTS / "fuzz" / "corpus" / "sentencepiece" / path.stem)
    makers = hugging_face_tokenizers(corpus, 400)
    for name, tokenizer in {"llama": llama_from_sentencepiece(FOLDER / "bpe.model"),
                            "unigram": makers["Unigram, NFKC"](), "added": makers["NeoX: NFC, added white space"]()}.items():
        tokenizer.save(str(FOLDER / f"{name}.json"), pretty=False)
        encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        answers.append({"file": f"{name}.json", "special": True,
                        "cases": [[text, encode(text), tokenizer.decode(encode(text), skip_special_tokens=False)] for text in samples]})
    write("answers.json", answers)


main()
