#!/usr/bin/env python3
"""An independent, slow router lab, held against `coterie route` on random cases.

    route_oracle.py COTERIE [CASES [SEED]]

Written from the published formulas, on its own small reverse-mode differentiation, in plain Python: nothing of it follows the
library's code. Compares assignments, gates, slots, drops, load, importance, losses, capacity and gradients.
"""
import json
import math
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

INF = math.inf


class Var:
    """A number that remembers what it was made of: pairs (other Var, partial derivative)."""

    def __init__(self, value, made_of=()):
        self.value, self.made_of, self.grad = value, made_of, 0.0

    def __add__(self, other):
        other = lift(other)
        return Var(self.value + other.value, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other):
        other = lift(other)
        return Var(self.value * other.value, ((self, other.value), (other, self.value)))

    def __sub__(self, other):
        return self + lift(other) * -1.0

    def __truediv__(self, other):
        other = lift(other)
        return Var(self.value / other.value, ((self, 1 / other.value), (other, -self.value / other.value**2)))

    __radd__, __rmul__ = __add__, __mul__


def lift(x):
    return x if isinstance(x, Var) else Var(float(x))


def unary(x, value, slope):
    return Var(value, ((x, slope),))


def exp(x):
    return unary(x, math.exp(x.value), math.exp(x.value))


def log(x):
    return unary(x, math.log(x.value), 1 / x.value)


def softplus(x):
    z = x.value
    return unary(x, max(z, 0) + math.log1p(math.exp(-abs(z))), 1 / (1 + math.exp(-z)))


def normal_cdf(x):
    return unary(x, 0.5 * math.erfc(-x.value / math.sqrt(2)), math.exp(-x.value**2 / 2) / math.sqrt(2 * math.pi))


def stop(x):
    return Var(x.value)


def backward(root):
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.made_of)
    root.grad = 1.0
    for node in reversed(order):
        for parent, slope in node.made_of:
            parent.grad += node.grad * slope


def total(items):
    result = Var(0.0)
    for item in items:
        result = result + item
    return result


def softmax(row):
    """Of Vars; masked entries (minus infinity) get exactly nothing."""
    live = [x for x in row if x.value > -INF]
    if not live:
        return [Var(0.0) for _ in row]
    shift = max(x.value for x in live)
    weights = [exp(x - shift) if x.value > -INF else Var(0.0) for x in row]
    bottom = total(weights)
    return [w / bottom for w in weights]


def cv_squared(values):
    n = len(values)
    mean = total(values) / n
    if mean.value == 0:
        return Var(0.0)
    return total((v - mean) * (v - mean) for v in values) / n / (mean * mean + 1e-10)


def ranking(row):
    return sorted(range(len(row)), key=lambda i: (-row[i].value, i))


# ---- router ----


def route(case):
    router, T, E = case["router"], case["T"], case["E"]
    clean = [[Var(x) for x in row] for row in case["logits"]]
    raw = [[Var(x) for x in row] for row in case["raw"] or [[0.0] * E] * T]
    noisy = router["kind"] == "noisy_top_k" and case["training"]
    ranked, std = clean, None
    if noisy:
        std = [[softplus(z) + router.get("noise_eps", 1e-2) for z in row] for row in raw]
        ranked = [[c + s * n if c.value > -INF else Var(-INF) for c, s, n in zip(*rows)] for rows in zip(clean, std, case["noise"])]
    probs = [softmax(row) for row in clean]
    k = 1 if router["kind"] == "switch" else router["top_k"]
    chosen = [ranking(row)[:k] for row in ranked]
    gates = []
    for t in range(T):
        p = [probs[t][e] for e in chosen[t]]
        if router["kind"] == "switch" or (router["kind"] == "top_k" and router["softmax"] == "all" and not router["norm_topk_prob"]):
            gates.append(p)
        else:
            gates.append(softmax([ranked[t][e] for e in chosen[t]]))
    return dict(clean=clean, raw=raw, ranked=ranked, std=std, probs=probs, k=k, chosen=chosen, gates=gates)


def probability(row, e):
    """Softmax whose sum is rounded once, whatever the order of its terms: permuted rows tie."""
    shift = max(row)
    return 0.0 if row[e] == -INF else math.exp(row[e] - shift) / math.fsum(math.exp(x - shift) for x in row if x > -INF)


def by_probability(p):
    """Largest first; what differs by rounding alone is a tie, and goes to the earlier token."""
    groups = []
    for t in sorted(range(len(p)), key=lambda i: -p[i]):
        if groups and p[t] >= p[groups[-1][0]] * (1 - 32 * sys.float_info.epsilon):
            groups[-1].append(t)
        else:
            groups.append([t])
    return [t for group in groups for t in sorted(group)]


def slots(case, r):
    """Slot of each choice, None = dropped, and the capacity."""
    c, T, E = case["capacity"], case["T"], case["E"]
    capacity = None
    if c:
        exact = c["capacity_factor"] * r["k"] * T / E
        whole = round(exact)
        if abs(exact - whole) > 1e-9:
            whole = math.ceil(exact) if c["round"] == "ceil" else math.floor(exact)
        capacity = max(c["min_capacity"], whole)
    used, result = [0] * E, [[None] * r["k"] for _ in range(T)]
    for j in range(r["k"]):
        order = list(range(T))
        if c and c["policy"] == "probability":
            order = by_probability([probability([x.value for x in r["clean"][t]], r["chosen"][t][j]) for t in order])
        for t in order:
            e = r["chosen"][t][j]
            if capacity is None or used[e] < capacity:
                result[t][j] = used[e]
                used[e] += 1
    return result, capacity


# ---- rules ----


def smooth_load(r, T, E, rule):
    k, load = r["k"], [Var(0.0) for _ in range(E)]
    for t in range(T):
        order = ranking(r["ranked"][t])
        for e in range(E):
            if k >= E:
                load[e] = load[e] + 1.0
                continue
            others = order if rule["threshold"] == "kth" else [i for i in order if i != e]
            theta, c = r["ranked"][t][others[k - 1]], r["clean"][t][e]
            if c.value == -INF:
                continue
            if theta.value == -INF:
                load[e] = load[e] + 1.0
                continue
            load[e] = load[e] + normal_cdf((c - (theta if rule["threshold_grad"] else stop(theta))) / r["std"][t][e])
    return load


def loss(case, r, rule):
    T, E, k = case["T"], case["E"], r["k"]
    if rule["kind"] == "importance":
        value = cv_squared([total(g for t in range(T) for g, c in zip(r["gates"][t], r["chosen"][t]) if c == e) for e in range(E)])
    elif rule["kind"] == "load":
        if r["std"]:
            value = cv_squared(smooth_load(r, T, E, rule))
        else:
            value = cv_squared([Var(float(sum(row.count(e) for row in r["chosen"]))) for e in range(E)])
    elif rule["kind"] == "aux":
        first = rule["choices"] == "first"
        bottom = T * k if not first and rule["divide_by_k"] else T
        f = [sum((row[:1] if first else row).count(e) for row in r["chosen"]) / bottom for e in range(E)]
        value = total(total(r["probs"][t][e] for t in range(T)) * (f[e] / T) for e in range(E)) * float(E)
    else:
        value = Var(0.0)
        for row in r["clean"]:
            live = [x for x in row if x.value > -INF]
            if live:
                shift = max(x.value for x in live)
                lse = log(total(exp(x - shift) for x in live)) + shift
                value = value + lse * lse * (1 / T)
    return value * rule["coef"]


def oracle(case):
    r = route(case)
    slot, capacity = slots(case, r)
    T, E = case["T"], case["E"]
    out = {"assignments": [], "dropped": [], "load": [0] * E, "importance": [0.0] * E, "losses": {}, "capacity": capacity}
    for t in range(T):
        for e, g, s in zip(r["chosen"][t], r["gates"][t], slot[t]):
            out["load"][e] += 1
            out["importance"][e] += g.value
            if s is None:
                out["dropped"].append({"token": t, "expert": e})
            else:
                out["assignments"].append({"token": t, "expert": e, "gate": g.value, "slot": s})
    losses, seen = [], {}
    for rule in case["balance"]:
        kind = rule["kind"]
        seen[kind] = seen.get(kind, 0) + 1
        losses.append(loss(case, r, rule))
        out["losses"][kind if seen[kind] == 1 else "%s.%d" % (kind, seen[kind])] = losses[-1].value
    backward(total(losses))
    out["gradient"] = {"logits": [[x.grad for x in row] for row in r["clean"]]}
    if case["raw"] or r["std"]:
        out["gradient"]["raw_noise_std"] = [[x.grad for x in row] for row in r["raw"]]
    return out


# ---- cases ----


def flow(spec):
    return "{%s}" % ", ".join("%s: %s" % (key, json.dumps(v) if isinstance(v, bool) else v) for key, v in spec.items())


def random_rule(rng):
    kind = rng.choice(["importance", "load", "aux", "z_loss"])
    rule = {"kind": kind, "coef": rng.choice([1, 0.1, 2.5])}
    if kind == "load":
        rule.update(threshold=rng.choice(["excluding", "kth"]), threshold_grad=rng.random() < 0.5)
    if kind == "aux":
        rule.update(choices=rng.choice(["first", "all"]), divide_by_k=rng.random() < 0.5)
    return rule


def random_case(rng):
    T, E = rng.randint(1, 9), rng.randint(1, 6)
    kind = rng.choice(["top_k", "noisy_top_k", "noisy_top_k", "switch"])
    router = {"kind": kind}
    if kind != "switch":
        router["top_k"] = rng.randint(1, E)
    if kind == "top_k":
        router.update(softmax=rng.choice(["all", "chosen"]), norm_topk_prob=rng.random() < 0.5)
    if kind == "noisy_top_k" and rng.random() < 0.5:
        router["noise_eps"] = rng.choice([0.001, 0.5])
    scale, grid = rng.choice([0.3, 1, 4, 30]), rng.random() < 0.3  # on a grid there are ties
    logits = [[rng.gauss(0, scale) for _ in range(E)] for _ in range(T)]
    if grid:
        logits = [[float(round(x)) for x in row] for row in logits]
    mask = rng.choice([0, 0, 0.2, 0.6])
    logits = [[-INF if rng.random() < mask else x for x in row] for row in logits]
    draws = lambda: [[rng.gauss(0, 1) for _ in range(E)] for _ in range(T)]
    capacity = None
    if rng.random() < 0.7:
        capacity = {"capacity_factor": rng.choice([0.5, 1, 1.1, 1.25, 2]), "policy": rng.choice(["position", "probability"]),
                    "min_capacity": rng.choice([0, 0, 2]), "round": rng.choice(["ceil", "floor"])}
    return {"T": T, "E": E, "router": router, "logits": logits, "noise": draws(), "raw": draws() if rng.random() < 0.6 else None,
            "training": rng.random() < 0.7, "balance": [random_rule(rng) for _ in range(rng.randint(0, 4))], "capacity": capacity}


def write_input(case):
    text = {"logits": case["logits"], "noise": case["noise"], "training": case["training"]}
    if case["raw"]:
        text["raw_noise_std"] = case["raw"]
    return json.dumps(text)  # writes -Infinity


def run(binary, case):
    command = [binary, "route", "--threads", "1", "--gradient", "--json", "--router", flow(case["router"])]
    for rule in case["balance"]:
        command += ["--balance", flow(rule)]
    if case["capacity"]:
        command += ["--capacity", flow(case["capacity"])]
    done = subprocess.run(command, input=write_input(case), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit("%s\nfailed: %s" % (" ".join(command), done.stderr.strip()))
    return json.loads(done.stdout)


def difference(got, want, path=""):
    """The first place where two results differ, or None. Sums of some hundred terms in f64: 1e-9 relative is generous."""
    if isinstance(want, dict):
        if not isinstance(got, dict) or set(got) != set(want):
            return "%s has keys %s, expected %s" % (path, sorted(got), sorted(want))
        return next(filter(None, (difference(got[k], want[k], path + "." + k) for k in want)), None)
    if isinstance(want, list):
        if not isinstance(got, list) or len(got) != len(want):
            return "%s is %s, expected %s" % (path, got, want)
        return next(filter(None, (difference(g, w, "%s[%d]" % (path, i)) for i, (g, w) in enumerate(zip(got, want)))), None)
    if isinstance(want, float):
        return None if abs(got - want) <= 1e-9 * max(1, abs(want)) else "%s is %r, expected %r" % (path, got, want)
    return None if got == want else "%s is %r, expected %r" % (path, got, want)


def main():
    binary, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    rng = random.Random(seed)
    cases = [random_case(rng) for _ in range(count)]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda case: run(binary, case), cases))
    for i, (case, got) in enumerate(zip(cases, results)):
        wrong = difference(got, oracle(case))
        if wrong:
            raise SystemExit("case %d (seed %d): %s\n%s\n%s" % (i, seed, wrong, json.dumps({k: case[k] for k in ("router", "balance", "capacity")}), write_input(case)))
    print("%d random cases agree with the oracle" % count)


if __name__ == "__main__":
    main()
