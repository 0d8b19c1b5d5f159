#!/usr/bin/env python3
"""Answers of Hugging Face's tokenizers and of the regex module; makes tests/data/tokenizer/{peer,tokenizer}.json.

    pip install tokenizers==0.23.3 regex
    python3 tests/peers/tokenizer_oracle.py

A byte-level BPE is trained by their trainer on a small text in many scripts, part of which is kept as it is written here
and part of which is random. tokenizer.json is their file, peer.json holds

    corpus    the text
    cases[]   text, lengths (UTF-8 bytes of its pre-tokens, by GPT-2's pattern in the regex module), ids, and
              ids_special where these differ when special tokens in the text count as such

Code points that Unicode 14 does not know are left out: libraries differ in what they know about newer ones.
"""
import json
import pathlib
import random
import unicodedata

import regex
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

PATTERN = regex.compile(r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")
SPECIAL = "<|endoftext|>"
FOLDER = pathlib.Path(__file__).parent.parent / "data" / "tokenizer"
VOCAB_SIZE = 700

PROSE = """It isn't what they've said; it's what they'd do, and we'll see who's right. The same, then: the others'll go.
Es wäre schön, wenn die Größe der Straße überall gleich wäre. Über allen Gipfeln ist Ruh.
El corazón del niño soñó: ¿dónde está la mañana? Ningún pájaro volvió aquí.
Съешь же ещё этих мягких французских булок, да выпей чаю.  Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.
いろはにほへと ちりぬるを。色は匂へど散りぬるを、我が世誰ぞ常ならむ。天地玄黃，宇宙洪荒。日月盈昃
모든 사람은 태어날 때부터 자유롭고 동등하다. إن القلب يعرف. היום יום יפה. नमस्ते दुनिया
e\u0301cole, n\u0303, A\u030a, Việt Nam, 🙂👍🏽 👨‍👩‍👧 🇪🇸 ❤️ ½ ⅷ ² ٣٤ 1,234.50 0x7f
static int32_t find(const char *key, size_t n)\n{\n\tfor (size_t i = 0; i < n; i++)\n\t\tif (key[i] == '\\0') return i;\n    return -1;\n}\r\n
a  b   c    d\t\te\u00a0f\u2003g\u3000h\u0085i \u200b j\u2028k  \n\n \n x
"""


def classes():
    out = {"L": [], "N": [], "S": [], "O": []}
    for code in range(1, 0x110000):
        c = chr(code)
        category = unicodedata.category(c)
        if category in ("Cs", "Cn"):
            continue
        kind = "S" if regex.match(r"\s", c) else category[0] if category[0] in "LN" else "O"
        out[kind].append(c)
    return out


def random_text(rng, by_class):
    pool = list("''''' strevmldaé1٣.-_日\u0301😀\n\t\u00a0")
    kind = rng.random()
    if kind < 0.5:
        return "".join(rng.choice(pool) for _ in range(rng.randrange(1, 24)))
    if kind < 0.8:
        return "".join(rng.choice(by_class[rng.choice("LNSO")]) for _ in range(rng.randrange(1, 10)))
    if kind < 0.9:
        start = rng.randrange(len(PROSE) - 60)
        return PROSE[start:start + rng.randrange(60)] + rng.choice(["", SPECIAL, " " + SPECIAL + "  "]) + rng.choice(PROSE)
    return rng.choice("aeの") * rng.randrange(200) + "".join(rng.choice("the ") for _ in range(rng.randrange(100)))


def main():
    assert unicodedata.unidata_version == "14.0.0", "run it with a Python of Unicode 14, such as 3.11"
    rng = random.Random(1)
    words = PROSE.split(" ")
    corpus = PROSE + "".join(" ".join(rng.choice(words) for _ in range(40)) + "\n" for _ in range(20))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, min_frequency=2, special_tokens=[SPECIAL], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([corpus], trainer)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")

    by_class = classes()
    cases = []
    for text in [PROSE] + [random_text(rng, by_class) for _ in range(140)]:
        if not text:
            continue
        case = {"text": text, "lengths": [len(m.encode()) for m in PATTERN.findall(text)]}
        tokenizer.encode_special_tokens = True
        case["ids"] = tokenizer.encode(text).ids
        tokenizer.encode_special_tokens = False
        with_special = tokenizer.encode(text).ids
        if with_special != case["ids"]:
            case["ids_special"] = with_special
        cases.append(case)
    peer = {"about": "made by tests/peers/tokenizer_oracle.py", "corpus": corpus, "vocab_size": VOCAB_SIZE, "cases": cases}
    text = json.dumps(peer, ensure_ascii=False, separators=(",", ":")).replace('{"text"', '\n{"text"')
    (FOLDER / "peer.json").write_text(text + "\n", encoding="utf-8")


main()
