"""Text for the comparisons of tokenizers: the demo's texts and this project's code, and at least as much random text:
every script, emoji and their sequences, combining marks, white space of all kinds, special tokens.

The same seed gives the same text. Code points that Python's Unicode tables do not know (3.11: beyond 14.0) are left out.
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


def by_block():
    """Assigned characters in runs of neighbours, so that random words look like words of one script."""
    blocks = {}
    for code in range(0x20, 0x30000):
        if unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co"):
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
            part = "".join(chr(c) for c in (rng.randrange(0x20, 0x30000) for _ in range(9))
                           if unicodedata.category(chr(c)) not in ("Cs", "Cn"))
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
