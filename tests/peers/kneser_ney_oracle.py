#!/usr/bin/env python3
"""A slow, independent Kneser-Ney, written from the definition with tuples and sets; makes tests/data/kneser_ney.json.

    python3 tests/peers/kneser_ney_oracle.py > tests/data/kneser_ney.json

An n-gram is a tuple of symbols; START stands once before each document's first token. The first token of a document is
never predicted. Plain count of (c, w): how often w was predicted after c. Continuation count: how many different symbols
stood before (c, w) in such a place; an n-gram that begins with START keeps its plain count.
"""
import json
import math
from collections import Counter, defaultdict

START = "START"


def events(documents):
    for d in documents:
        symbols = [START] + d
        for i in range(2, len(symbols)):
            yield symbols, i


def plain_counts(documents, n):
    counts = Counter()
    for symbols, i in events(documents):
        if i - n + 1 >= 0:
            counts[tuple(symbols[i - n + 1:i + 1])] += 1
    return counts


def continuation_counts(documents, n):
    left = defaultdict(set)
    for symbols, i in events(documents):
        if i - n >= 0:
            left[tuple(symbols[i - n + 1:i + 1])].add(symbols[i - n])
    counts = Counter({gram: len(v) for gram, v in left.items()})
    for gram, c in plain_counts(documents, n).items():
        if gram[0] == START:
            counts[gram] = c
    return counts


def discounts(counts):
    n1, n2, n3, n4 = (sum(1 for c in counts.values() if c == k) for k in (1, 2, 3, 4))
    single = n1 / (n1 + 2 * n2) if n1 and n2 else 0.5
    if n1 and n2 and n3 and n4:
        three = [1 - 2 * single * n2 / n1, 2 - 3 * single * n3 / n2, 3 - 4 * single * n4 / n3]
        if min(three) > 0:
            return three, True
    return [single] * 3, False


class Level:
    def __init__(self, counts):
        self.counts = counts
        self.discount, self.modified = discounts(counts)
        self.following = defaultdict(list)
        for gram, c in counts.items():
            self.following[gram[:-1]].append(c)

    def mix(self, context, w, lower):
        seen = self.following.get(context)
        if not seen:
            return lower
        take = lambda c: self.discount[min(c, 3) - 1] if c else 0.0
        c = self.counts.get(context + (w,), 0)
        return (c - take(c) + sum(take(k) for k in seen) * lower) / sum(seen)


class KneserNey:
    def __init__(self, documents, vocabulary, order):
        self.vocabulary, self.order = vocabulary, order
        self.top = Level(plain_counts(documents, order))
        self.lower = [Level(continuation_counts(documents, n)) for n in range(1, order)]

    def p(self, context, w):
        """context: all symbols before w in its document, START first."""
        p = 1 / self.vocabulary
        for n, level in enumerate(self.lower + [self.top], start=1):
            if n - 1 <= len(context):
                p = level.mix(tuple(context[len(context) - (n - 1):]), w, p)
        return p


def sample(seed, count, vocabulary, length):
    """Documents of a skewed second-order source, from a small linear congruential generator."""
    state, documents, a, b = seed, [], 0, 0

    def draw():
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) / 2**31

    while sum(map(len, documents)) < count:
        document = []
        for _ in range(1 + int(draw() * length)):
            u = draw()
            w = int(vocabulary * u**3) if u < 0.4 else (3 * a + 5 * b + int(4 * draw() ** 2)) % vocabulary
            a, b = b, w
            document.append(w)
        documents.append(document)
    return documents


def flat(documents):
    starts, tokens = [], []
    for d in documents:
        starts.append(len(tokens))
        tokens += d
    return tokens, starts


def case(name, vocabulary, order, train, test):
    models = [KneserNey(train, vocabulary, n) for n in range(1, order + 1)]
    nll = []
    for d in test:
        nll.append([0.0] * order)
        for i in range(1, len(d)):
            nll.append([-math.log(m.p([START] + d[:i], d[i])) for m in models])
    tokens, starts = flat(train)
    test_tokens, test_starts = flat(test)
    return {"name": name, "vocabulary": vocabulary, "order": order, "tokens": tokens, "starts": starts,
            "test_tokens": test_tokens, "test_starts": test_starts,
            "discounts": [m.top.discount for m in models], "modified": [m.top.modified for m in models], "nll": nll}


def main():
    train, test = sample(1, 900, 14, 60), sample(2, 90, 14, 30)
    cases = [
        case("skewed source, 14 symbols", 14, 5, train, test),
        case("a larger vocabulary than was seen, short documents", 40, 5, sample(3, 300, 30, 5), sample(4, 60, 40, 5)),
        case("too few counts for three discounts", 4, 3, [[0, 1, 2, 1, 0, 1]], [[0, 1, 2], [3, 3, 1], [1]]),
    ]
    print("[" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "]")


if __name__ == "__main__":
    main()
