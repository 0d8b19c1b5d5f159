"""Text for the comparisons of tokenizers: the demo's texts and this project's code, and at least as much random text:
every script, emoji and their sequences, combining marks, white space of all kinds, special tokens.

The same seed gives the same text. Characters are those that Unicode 15.0 assigns: libraries differ in what they know
about newer ones.
"""
import gzip
import pathlib
import random
import struct
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOCUMENT = 1 << 16
SPACES = [" ", " ", " ", "  ", "   ", " " * 7, " " * 40, "\n", "\n\n", "\r\n", "\t", "\t\t", "\u00a0", "\u2003", "\u3000",
          "\u0085", "\u2028", "\u200b", "\v", "\f", " \n", "\n ", " \t ", "\n\n\n   "]
EMOJI = ["🙂", "👍🏽", "👨‍👩‍👧‍👦", "🇪🇸", "❤️", "🏳️‍🌈", "1️⃣", "🤷🏿‍♀️", "☺", "⌚️"]
SPECIAL = ["<|endoftext|>", "<s>", "</s>", "<unk>", "<|padding|>", "|||EMAIL_ADDRESS|||", "<0x0A>", "▁", "Ġ", "[INST]"]
WORDS = ["It's", "WE'LL", "don't", "they've", "I'm", "he'd", "you're", "'s", "'S", "'ſ", "’s", "naïve", "Straße", "ﬁn",
         "İstanbul", "e\u0301cole", "A\u030a\u0323", "각", "\u1100\u1161\u11a8", "가\u11a8", "नमस्ते", "ก็", "3.14159", "1234567890",
         "٣٤٥", "½", "ⅷ", "²", "x_1", "0x7fFF", "http://a.b/c?d=e&f", "<div class=\"x\">", "!=", "->", "...", "—", "#!/bin/sh",
         "\ufeff", "\ufffd", "Ⓐ", "𝒳", "ǆ", "ﷺ", "\u0300\u0301", "か\u3099", "ｶﾞ", "﹏"]


# What 15.0 added, for Pythons that do not know it (3.11 has 14.0).
NEW_IN_15 = [(0xcf3, 0xcf3), (0xece, 0xece), (0x10efd, 0x10eff), (0x1123f, 0x11241), (0x11b00, 0x11b09), (0x11f00, 0x11f10),
             (0x11f12, 0x11f3a), (0x11f3e, 0x11f59), (0x13439, 0x13455), (0x1b132, 0x1b132), (0x1b155, 0x1b155),
             (0x1d2c0, 0x1d2d3), (0x1df25, 0x1df2a), (0x1e030, 0x1e06d), (0x1e08f, 0x1e08f), (0x1e4d0, 0x1e4f9),
             (0x1f6dc, 0x1f6dc), (0x1f774, 0x1f776), (0x1f77b, 0x1f77f), (0x1f7d9, 0x1f7d9), (0x1fa75, 0x1fa77),
             (0x1fa87, 0x1fa88), (0x1faad, 0x1faaf), (0x1fabb, 0x1fabd), (0x1fabf, 0x1fabf), (0x1face, 0x1facf),
             (0x1fada, 0x1fadb), (0x1fae8, 0x1fae8), (0x1faf7, 0x1faf8), (0x31350, 0x323af)]
ADDED = {code for first, last in NEW_IN_15 for code in range(first, last + 1)}
LATER = range(0x2ebf0, 0x2ee5e)  # 15.1, for Pythons that know it


def assigned(code):
    """Is it a character of Unicode 15.0, and no surrogate or private one?"""
    return code in ADDED or (unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co") and code not in LATER)


def by_block():
    """Assigned characters in runs of neighbours, so that random words look like words of one script."""
    blocks = {}
    for code in range(0x20, 0x32400):
        if assigned(code):
            blocks.setdefault(code >> 7, []).append(chr(code))
    return list(blocks.values())


def random_document(rng, blocks, prose):
    parts, size = [], 0
    while size < DOCUMENT:
        kind = rng.random()
        if kind < 0.25:
            start = rng.randrange(len(prose) - 400)
            part = prose[start:start + rng.randrange(400)]
        elif kind < 0.55:
            block = rng.choice(blocks)
            part = "".join(rng.choice(block) for _ in range(rng.randrange(1, 12)))
        elif kind < 0.7:
            part = rng.choice(WORDS) + rng.choice(["", " ", rng.choice(WORDS)])
        elif kind < 0.85:
            part = rng.choice(SPACES) * rng.randrange(1, 4)
        elif kind < 0.95:
            part = rng.choice(EMOJI) * rng.randrange(1, 3)
        elif kind < 0.99:
            part = rng.choice(["", " "]) + rng.choice(SPECIAL) + rng.choice(["", " ", "  "])
        else:
            part = "".join(chr(c) for c in (rng.randrange(0x20, 0x32400) for _ in range(9)) if assigned(c))
        parts.append(part)
        size += len(part.encode())
    return "".join(parts)


def real_documents():
    out = []
    for path in sorted(ROOT.glob("data/demo/*.txt*")):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        out.append(data.decode())
    out += [path.read_text() for folder in ("src", "apps", "tests") for path in sorted((ROOT / folder).rglob("*.[ch]"))]
    return [text[i:i + DOCUMENT] for text in out for i in range(0, len(text), DOCUMENT)]


def mixed_documents(bytes_wanted, seed=1):
    rng, blocks, documents = random.Random(seed), by_block(), real_documents()
    prose = "".join(documents)
    rng.shuffle(documents)
    size = sum(len(d.encode()) for d in documents)
    while size > bytes_wanted / 2:  # at least half of it is random
        size -= len(documents.pop().encode())
    while size < bytes_wanted:
        documents.append(random_document(rng, blocks, prose))
        size += len(documents[-1].encode())
    return documents, size


def write_documents(documents, path):
    with open(path, "wb") as file:
        for text in documents:
            data = text.encode()
            file.write(struct.pack("<Q", len(data)) + data)


def read_results(path):
    """What dump_tokens wrote: (ids, text) of each document."""
    import numpy
    data, at, out = path.read_bytes(), 0, []
    while at < len(data):
        (count,) = struct.unpack_from("<Q", data, at)
        ids = numpy.frombuffer(data, "<i4", count, at + 8)
        at += 8 + 4 * count
        (length,) = struct.unpack_from("<Q", data, at)
        out.append((ids, data[at + 8:at + 8 + length]))
        at += 8 + length
    return out
