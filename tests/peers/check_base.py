#!/usr/bin/env python3
"""BASE's balanced assignment against SciPy's exact solver: 512 tokens, several numbers of experts and kinds of scores.

    check_base.py COTERIE

The total may be 1e-4 of the range of scores per token below the optimum, and never above it.
"""
import json
import random
import subprocess
import sys

import numpy
from scipy.optimize import linear_sum_assignment

TOKENS = 512


def scores(kind, experts, rng):
    draw = {"normal": lambda e: rng.gauss(0, 1), "skewed": lambda e: rng.gauss(e, 1), "ties": lambda e: float(rng.randint(0, 3)),
            "heavy": lambda e: rng.gauss(0, 1) ** 5}[kind]
    return [[draw(e) for e in range(experts)] for _ in range(TOKENS)]


def main():
    rng, worst = random.Random(1), 0.0
    for experts in (2, 16, 64):
        for kind in ("normal", "skewed", "ties", "heavy"):
            logits = scores(kind, experts, rng)
            done = subprocess.run([sys.argv[1], "route", "--json", "--router", "{kind: base}"], capture_output=True, text=True, check=True,
                                  input=json.dumps({"logits": logits, "training": True}))
            out = json.loads(done.stdout)
            matrix = numpy.array(logits)
            rows, columns = linear_sum_assignment(numpy.repeat(matrix, TOKENS // experts, axis=1), maximize=True)
            best = matrix[rows, columns // (TOKENS // experts)].sum()
            got = sum(logits[a["token"]][a["expert"]] for a in out["assignments"])
            lost = (best - got) / (matrix.max() - matrix.min()) / TOKENS
            worst = max(worst, lost)
            if not -1e-12 <= lost <= 1e-4 or out["load"] != [TOKENS // experts] * experts:
                raise SystemExit("%s, %d experts: %.17g, the best is %.17g; loads %s" % (kind, experts, got, best, out["load"]))
    print("balanced assignments of %d tokens: at most %.1e of the range of scores per token below SciPy's" % (TOKENS, worst))


if __name__ == "__main__":
    main()
