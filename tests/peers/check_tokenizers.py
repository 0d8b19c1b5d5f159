"""Tokenizers against Hugging Face's tokenizers and against sentencepiece: the same ids and the same text back.

    check_tokenizers.py DUMP_TOKENS [--shared FOLDER] [--mb 12]

Tokenizers come from two places. Some are trained here, by the libraries themselves, with the settings of published ones:
GPT-2's, Llama-3's and Qwen's patterns, NFC and NFKC, Metaspace, SentencePiece with and without byte fallback, BPE and
unigram. With --shared (or $COTERIE_SHARED) the published GPT-2, OLMoE and Mixtral ones are compared too.

The published ones, GPT-2's, NeoX's and Llama's kinds are compared over all of the text, the others over a quarter. What
we write of a tokenizer must load in transformers' AutoTokenizer, offline, and give the same ids.

No difference is allowed. Of Hugging Face's library, some parts have older Unicode tables than others (its normal forms,
its Punctuation and StripAccents know about Unicode 9): what these see otherwise than Python's tables is left out of the
text for tokenizers with such parts, and counted. Letters assigned after Unicode 15 are left out of all text; how many
of them are cut otherwise is counted at the end.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import unicodedata

import numpy
import regex
import sentencepiece
from tokenizers import normalizers, pre_tokenizers

from mixed_text import assigned, mixed_documents, read_results, write_documents
from peers_table import record
from trained_tokenizers import MIXTRAL, hugging_face_tokenizers, published_tokenizers, sentencepiece_models

failures = 0


def report(fine, text):
    global failures
    failures += not fine
    print(f"  {'ok  ' if fine else 'FAIL'} {text}", flush=True)


# ---- characters that they know less about ----

def seen_otherwise():
    """Characters whose normal forms, or whose kind, Hugging Face's normalizers and Punctuation take for another."""
    forms = {form: getattr(normalizers, form)() for form in ("NFC", "NFD", "NFKC", "NFKD")}
    bare, punctuation = normalizers.StripAccents(), pre_tokenizers.Punctuation()
    found = set()
    for code in filter(assigned, range(0x80, 0x32400)):
        c = chr(code)
        if unicodedata.category(c) == "Cn":  # added in 15.0, and no table here to compare with
            if regex.match(r"[\p{M}\p{P}\p{Lm}]", c):
                found.add(c)
            continue
        probe, kind = f"a\u0315{c}\u0334", unicodedata.category(c)[0]
        same = all(forms[form].normalize_str(probe) == unicodedata.normalize(form, probe) for form in forms)
        same &= (bare.normalize_str(c) == "") == (kind == "M")
        same &= (len(punctuation.pre_tokenize_str("a" + c)) == 2) == (kind == "P")
        if not same:
            found.add(c)
    return found


def later_letters():
    """Letters and numbers that Unicode assigned after 15.0, as far as the regex module knows them."""
    known = regex.compile(r"[\p{L}\p{N}\p{M}]")
    return [chr(code) for code in range(0x80, 0x34000)
            if not assigned(code) and not 0xd800 <= code < 0xe000 and known.match(chr(code))]


# ---- comparing ----

def first_difference(text, ours, theirs):
    n = min(len(ours), len(theirs))
    apart = numpy.nonzero(ours[:n] != theirs[:n])[0]
    at = int(apart[0]) if len(apart) else n
    return f"token {at}: {ours[at:at + 6].tolist()}, theirs {theirs[at:at + 6].tolist()}"


def compare(peer, name, documents, results, encode, decode):
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
    record(peer, "ids and decoded text of tokenizers of every kind", different, 0, "documents")
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


def without(left_out, documents):
    table = {ord(c): None for c in left_out}
    return [text.translate(table) for text in documents]


def compare_hugging_face(dump, name, tokenizer, documents, work, left_out=None):
    tokenizer.save(str(work / "tokenizer.json"))
    old_parts = ("NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Punctuation")
    if left_out and any(f'"type": "{part}"' in tokenizer.to_str(pretty=True) for part in old_parts):
        documents = without(left_out, documents)
    write_documents(documents, work / "documents")
    for special in False, True:
        tokenizer.encode_special_tokens = not special
        results = run(dump, work / "tokenizer.json", work / "documents", work / "out", special)
        compare("tokenizers", name + (", special tokens" if special else ""), documents, results,
                lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
                lambda ids: tokenizer.decode(ids, skip_special_tokens=False))


def compare_sentencepiece(dump, name, path, documents, work):
    write_documents(documents, work / "documents")
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    results = run(dump, path, work / "documents", work / "out", False)
    compare("sentencepiece", name, documents, results, model.encode, model.decode)


def check_auto_tokenizer(dump, name, path, documents, work):
    """What we save of a tokenizer, in AutoTokenizer. (What was a SentencePiece model decodes its unknown token otherwise,
    and as unigram in a tokenizer.json finds control pieces in any text: so no "<" in these texts.)"""
    from transformers import AutoTokenizer
    folder = work / "saved"
    folder.mkdir(exist_ok=True)
    subprocess.run([dump, "save", path, folder], check=True)
    write_documents(documents, work / "documents")
    theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    results = run(dump, path, work / "documents", work / "out", True)
    compare("transformers", f"{name}, saved here, in AutoTokenizer", documents, results,
            lambda text: theirs(text, add_special_tokens=False).input_ids,
            lambda ids: theirs.decode(ids, skip_special_tokens=False))


def count_later_letters(dump, tokenizer, work):
    """Each in a text of its own, with letters, numbers and spaces around."""
    letters = later_letters()
    documents = [f"a{c} {c}b 1{c} {c}{c}" for c in letters]
    tokenizer.save(str(work / "tokenizer.json"))
    write_documents(documents, work / "documents")
    results = run(dump, work / "tokenizer.json", work / "documents", work / "out", False)
    other = sum(ids.tolist() != tokenizer.encode(text).ids for text, (ids, _) in zip(documents, results))
    print(f"  {other} of {len(letters)} letters, marks and numbers assigned after Unicode 15 are cut otherwise (excepted)")


def check_published(arguments, documents, left_out, work):
    if not arguments.shared:
        return
    print("published, against Hugging Face's tokenizers:")
    for name, tokenizer in published_tokenizers(arguments.shared).items():
        if arguments.only in name:
            compare_hugging_face(arguments.dump, name, tokenizer, documents, work, left_out)
            check_auto_tokenizer(arguments.dump, name, work / "tokenizer.json", without(left_out, documents[::8]), work)
    if arguments.only in "Mixtral":
        print("published, against sentencepiece:")
        path = pathlib.Path(arguments.shared) / "tokenizers" / MIXTRAL
        compare_sentencepiece(arguments.dump, "Mixtral", path, documents, work)
        plain = [text.replace("<", "") for text in documents[::8]]
        check_auto_tokenizer(arguments.dump, "Mixtral's model", path, plain, work)


WHOLE = "GPT-2's pattern", "NeoX: NFC, added white space", "BPE, byte fallback, as Llama"


def check_trained(arguments, documents, left_out, work):
    corpus = [d[:8000] for d in documents[::4]]
    share = lambda name: documents if name in WHOLE and not arguments.shared else documents[::4]
    print("trained here, against Hugging Face's tokenizers:")
    makers = hugging_face_tokenizers(corpus)
    for name, make in makers.items():
        if arguments.only in name:
            compare_hugging_face(arguments.dump, name, make(), share(name), work, left_out)
    count_later_letters(arguments.dump, makers["Llama-3's pattern"](), work)
    print("trained here, against sentencepiece:")
    for name, path in sentencepiece_models(corpus, work, arguments.only):
        compare_sentencepiece(arguments.dump, name, path, share(name), work)
        if name.startswith("BPE, byte fallback"):  # unigram in a tokenizer.json adds up in double precision: near ties differ
            plain = [text.replace("<", "") for text in documents[::16]]
            check_auto_tokenizer(arguments.dump, name, path, plain, work)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dump")
    parser.add_argument("--shared", default=os.environ.get("COTERIE_SHARED"))
    parser.add_argument("--mb", type=float, default=12)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    documents, size = mixed_documents(int(arguments.mb * 1e6))
    left_out = seen_otherwise()
    with tempfile.TemporaryDirectory() as folder:
        print(f"{len(documents)} documents, {size / 1e6:.1f} MB; {sum(c in left_out for d in documents for c in d)} times one"
              f" of {len(left_out)} characters that are left out for old normalizers and Punctuation")
        check_published(arguments, documents, left_out, pathlib.Path(folder))
        check_trained(arguments, documents, left_out, pathlib.Path(folder))
    sys.exit(failures != 0)


main()
