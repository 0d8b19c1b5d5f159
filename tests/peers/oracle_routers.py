"""What routers do, one function each, in plain Python from the published formulas. Tokens are those with an expert left.

A router returns: chosen [T][..] experts of each token, gates likewise, skipped {(token, choice)} that the router gives up, hold: a
skipped choice takes up a slot, k choices per token (0: varies), clean, ranked, probs [T][E], std (noise), and where it hands
out slots itself, slots: (slot of each choice, capacity).
"""
import math

from oracle_core import INF, Var, exp, log, ranking, sigmoid, softmax, softplus, total

ROUTERS = {}


def router(kind, options, own_slots=False, columns=None, blind=False, masks=True):
    """Registers a router and how its options are drawn at random for E experts; columns draws (E, columns of the logits) where
    those are no experts'; blind: no scores that balance rules could read; masks: also tried with masked experts and ties."""

    def add(function):
        function.options, function.own_slots, function.columns, function.blind, function.masks = options, own_slots, columns, blind, masks
        ROUTERS[kind] = function
        return function

    return add


def random_router(rng, kind, E):
    return dict({"kind": kind}, **ROUTERS[kind].options(rng, E))


def route(case):
    """Fills in what most routers share."""
    clean = [[Var(x) for x in row] for row in case["logits"]]
    r = dict(given=clean, clean=clean, ranked=clean, raw=[[Var(x) for x in row] for row in case["raw"] or [[0.0] * case["E"]] * case["T"]],
             std=None, probs=[softmax(row) for row in clean], skipped=set(), hold=0, k=0)
    rules = ROUTERS[case["router"]["kind"]]
    r["unranked"] = rules.blind or rules.columns
    r.update(ROUTERS[case["router"]["kind"]](case, case["router"], r))
    return r


def pick(rows, chosen):
    return [[rows[t][e] for e in row] for t, row in enumerate(chosen)]


# ---- the k largest ----


def biased_orders(case, r):
    """Experts of each token, best first: by logits, or by probability + bias."""
    if not case.get("bias"):
        return [ranking(row) for row in r["clean"]]
    score = lambda t, e: -INF if r["clean"][t][e].value == -INF else r["probs"][t][e].value + case["bias"][e]
    return [sorted(range(case["E"]), key=lambda e: (-score(t, e), e)) for t in range(case["T"])]


@router("top_k", lambda rng, E: dict(top_k=rng.randint(1, E), softmax=rng.choice(["all", "chosen"]), norm_topk_prob=rng.random() < 0.5))
def top_k(case, o, r):
    chosen = [order[: o["top_k"]] for order in biased_orders(case, r)]
    raw = o["softmax"] == "all" and not o["norm_topk_prob"]
    gates = pick(r["probs"], chosen) if raw else [softmax(row) for row in pick(r["clean"], chosen)]
    return dict(k=o["top_k"], chosen=chosen, gates=gates)


@router("switch", lambda rng, E: {})
def switch(case, o, r):
    chosen = [order[:1] for order in biased_orders(case, r)]
    return dict(k=1, chosen=chosen, gates=pick(r["probs"], chosen))


@router("cosine", lambda rng, E: dict(top_k=rng.randint(1, E), norm_topk_prob=rng.random() < 0.5))
def cosine(case, o, r):
    return top_k(case, dict(o, softmax="all"), r)


@router("task", lambda rng, E: dict(top_k=rng.randint(1, E)), masks=False)
def task(case, o, r):
    """A document's tokens take the logits of its first: where positions say 0, or another label begins."""
    rows, labels = [], [max(0, label) for label in case["labels"]]
    for t, row in enumerate(r["clean"]):
        begins = t == 0 or case["positions"][t] == 0 or labels[t] != labels[t - 1]
        rows.append(row if begins else rows[-1])
    chosen = [ranking(row)[: o["top_k"]] for row in rows]
    probs = [softmax(row) for row in rows]
    gates = pick(probs, chosen) if o["top_k"] == 1 else [softmax(row) for row in pick(rows, chosen)]
    return dict(k=o["top_k"], chosen=chosen, gates=gates, clean=rows, ranked=rows, probs=probs)


@router("dense_softmax", lambda rng, E: {})
def dense_softmax(case, o, r):
    chosen = [ranking(row) for row in r["clean"]]
    return dict(k=case["E"], chosen=chosen, gates=pick(r["probs"], chosen))


@router("noisy_top_k", lambda rng, E: dict(top_k=rng.randint(1, E), noise_eps=rng.choice([0.01, 0.001, 0.5])))
def noisy_top_k(case, o, r):
    ranked, std = r["clean"], None
    if case["training"]:
        std = [[softplus(z) + o["noise_eps"] for z in row] for row in r["raw"]]
        ranked = [[c + s * n if c.value > -INF else Var(-INF) for c, s, n in zip(*rows)] for rows in zip(r["clean"], std, case["noise"])]
    chosen = [ranking(row)[: o["top_k"]] for row in ranked]
    return dict(k=o["top_k"], chosen=chosen, gates=[softmax(row) for row in pick(ranked, chosen)], ranked=ranked, std=std)


# ---- GShard ----


@router("gshard", lambda rng, E: dict(second_policy=rng.choice(["random", "all", "none", "threshold", "sampling"]),
                                      threshold=rng.choice([0.5, 0.2]), counter=rng.choice(["always", "passed"])))
def gshard(case, o, r):
    chosen = [ranking(row)[:2] for row in r["clean"]]
    if o["second_policy"] == "sampling" and case["training"]:
        for t, row in enumerate(chosen):
            keys = {e: h.value - math.log(-math.log(case["noise"][t][e])) for e, h in enumerate(r["clean"][t]) if e != row[0] and h.value > -INF}
            if keys:
                row[1] = max(keys, key=keys.get)
    gates = [softmax(row) for row in pick(r["clean"], chosen)]
    skipped = set()
    for t, row in enumerate(gates):
        if len(row) < 2:
            continue
        w2 = row[1].value
        use = {"none": False, "threshold": w2 > o["threshold"], "random": not case["training"] or case["noise"][t][0] < w2 / o["threshold"]}
        if not use.get(o["second_policy"], True):
            skipped.add((t, 1))
            gates[t] = [row[0], Var(0.0)]
    return dict(k=min(2, case["E"]), chosen=chosen, gates=gates, skipped=skipped, hold=int(o["counter"] == "always"))


# ---- expert choice ----


def log_softmax(row):
    top = max(row)
    sum_ = math.fsum(math.exp(x - top) for x in row)
    return [x - top - math.log(sum_) for x in row]


def columns_by_rank(scores, tokens, expert, tie=1e-14):
    """Tokens by descending score of an expert, masked ones left out; what differs by rounding alone goes by position."""
    live = sorted((t for t in tokens if scores[t][expert] > -INF), key=lambda t: (-scores[t][expert], t))
    groups = []
    for t in live:
        if groups and scores[t][expert] >= scores[groups[-1][0]][expert] - tie * (1 + abs(scores[t][expert])):
            groups[-1].append(t)
        else:
            groups.append([t])
    return [t for group in groups for t in sorted(group)]


def gather_columns(case, picks):
    """picks: {(token, expert): slot} to lists of each token, by expert."""
    chosen = [[e for e in range(case["E"]) if (t, e) in picks] for t in range(case["T"])]
    return chosen, [[picks[t, e] for e in row] for t, row in enumerate(chosen)]


def lse(values):
    top = max(values)
    return -INF if top == -INF else top + math.log(math.fsum(math.exp(x - top) for x in values))


def capped(p, n, b, entropy, rounds):
    """ln A for probabilities p [tokens][experts]: columns of A sum to n, rows to at most b, entries to at most 1 (Dykstra)."""
    T, E = len(p), len(p[0])
    a = [[x / entropy if x > 0 else -INF for x in row] for row in p]
    q = [[0.0] * E for _ in p]
    u = [[0.0] * E for _ in p]
    for _ in range(rounds):
        for e in range(E):
            column = lse([row[e] for row in a])
            for t in range(T):
                a[t][e] += math.log(n) - column if column > -INF else 0
        for t in range(T):
            before = [x + y for x, y in zip(a[t], q[t])]
            r = min(0.0, math.log(b) - lse(before))
            a[t] = [x + r for x in before]
            q[t] = [x - y if y > -INF else 0.0 for x, y in zip(before, a[t])]
        for t in range(T):
            before = [x + y for x, y in zip(a[t], u[t])]
            a[t] = [min(x, 0.0) for x in before]
            u[t] = [x - y if y > -INF else 0.0 for x, y in zip(before, a[t])]
    return a


@router("expert_choice", lambda rng, E: dict(capacity_factor=rng.choice([0.5, 1, 2, 3]), divide_by_count=rng.random() < 0.3,
                                             max_experts=rng.choice([0, 0, 1, 2]), entropy=rng.choice([0.01, 0.1, 1]), iterations=rng.choice([1, 20, 100])),
        own_slots=True)
def expert_choice(case, o, r):
    scores = [log_softmax([x.value for x in row]) for row in r["clean"]]
    picks, base, capacity = {}, 0, 0
    for tokens in case["groups"] or [list(range(case["T"]))]:
        n = min(len(tokens), max(1, math.floor(len(tokens) * o["capacity_factor"] / case["E"] + 1e-9))) if tokens else 0
        ranked, tie = scores, 1e-14
        if o["max_experts"] and tokens:
            solved = capped([[math.exp(x) for x in scores[t]] for t in tokens], n, o["max_experts"], o["entropy"], o["iterations"])
            ranked, tie = dict(zip(tokens, solved)), 1e-9
        for e in range(case["E"]):
            for slot, t in enumerate(columns_by_rank(ranked, tokens, e, tie)[:n]):
                picks[t, e] = base + slot
        base, capacity = base + n, max(capacity, n)
    chosen, slot = gather_columns(case, picks)
    gates = pick(r["probs"], chosen)
    if o["divide_by_count"]:
        gates = [[g / len(row) for g in row] for row in gates]
    return dict(chosen=chosen, gates=gates, slots=(slot, capacity))


# ---- DeepSeek ----


def deepseek_options(rng, E):
    groups = rng.choice([g for g in range(1, E + 1) if E % g == 0])
    topk_group = rng.randint(1, groups)
    return dict(num_groups=groups, topk_group=topk_group, top_k=rng.randint(1, topk_group * E // groups), score=rng.choice(["softmax", "sigmoid"]),
                group_score=rng.choice(["max", "top2_sum"]), norm_topk_prob=rng.random() < 0.5, routed_scaling_factor=rng.choice([1, 2.5]),
                device_capacity=rng.choice([0, 0, 0.5, 1, 1.3]), undropped_sequences=rng.choice([0, 1]))


def device_drops(case, o, chosen, affinity):
    """(token, choice) that groups have no room for: those of lowest affinity; ties go by the order of the choices."""
    size, dropped = case["E"] // o["num_groups"], set()
    kept = o["undropped_sequences"] == 1 and case["sequences"]
    budget = math.ceil(round(o["device_capacity"] * sum(map(len, chosen)) / o["num_groups"], 9))
    for g in range(o["num_groups"] if o["device_capacity"] and case["training"] else 0):
        pairs = [(t, j) for t, row in enumerate(chosen) for j, e in enumerate(row) if e // size == g]
        worth = lambda pair: affinity[pair[0]][chosen[pair[0]][pair[1]]].value
        groups = []
        for pair in sorted(pairs, key=lambda pair: -worth(pair)):
            if groups and worth(pair) >= worth(groups[-1][0]) * (1 - 1e-14):
                groups[-1].append(pair)
            else:
                groups.append([pair])
        dropped.update([] if kept else [pair for tied in groups for pair in sorted(tied)][budget:])
    return dropped


@router("deepseek", deepseek_options)
def deepseek(case, o, r):
    E, size = case["E"], case["E"] // o["num_groups"]
    affinity = r["probs"] if o["score"] == "softmax" else [[sigmoid(x) for x in row] for row in r["clean"]]
    chosen = []
    for t, row in enumerate(r["clean"]):
        bias = case.get("bias")
        rank = [-INF if h.value == -INF else s.value + bias[e] if bias else h.value for e, (h, s) in enumerate(zip(row, affinity[t]))]
        plain = [-INF if h.value == -INF else s.value + (bias[e] if bias else 0) for e, (h, s) in enumerate(zip(row, affinity[t]))]
        worth = []
        for g in range(o["num_groups"]):
            best = sorted((plain if o["group_score"] == "top2_sum" else rank)[g * size:(g + 1) * size], reverse=True)
            worth.append(best[0] + best[1] if o["group_score"] == "top2_sum" and len(best) > 1 and best[1] > -INF else best[0])
        allowed = sorted(range(o["num_groups"]), key=lambda g: (-worth[g], g))[: o["topk_group"]]
        order = sorted(range(E), key=lambda e: (-(rank[e] if e // size in allowed else -INF), e))
        chosen.append(order[: o["top_k"]])
    scale = float(o["routed_scaling_factor"])
    if not o["norm_topk_prob"]:
        gates = [[g * scale for g in row] for row in pick(affinity, chosen)]
    elif o["score"] == "softmax":
        gates = [[g * scale for g in softmax(row)] for row in pick(r["clean"], chosen)]
    else:
        gates = []
        for row in pick(affinity, chosen):
            bottom = total(row) + 1e-20
            gates.append([g / bottom * scale for g in row])
    probs = r["probs"] if o["score"] == "softmax" else [[s / (total(row) + 1e-20) for s in row] for row in affinity]
    return dict(k=o["top_k"], chosen=chosen, gates=gates, probs=probs, full=device_drops(case, o, chosen, affinity))


# ---- balance over a batch ----


def groups_of(case):
    return case["groups"] or [list(range(case["T"]))]


@router("batchwise", lambda rng, E: dict(top_k=rng.randint(1, 3), threshold_coef=rng.choice([1, 0.25])), own_slots=True)
def batchwise(case, o, r):
    T, E, own = case["T"], case["E"], None
    scores = [log_softmax([x.value for x in row]) for row in r["clean"]]
    picks, base, capacity = {}, 0, 0
    for tokens in groups_of(case):
        m = math.ceil(o["top_k"] * len(tokens) / E)
        for e in range(E):
            for slot, t in enumerate(columns_by_rank(scores, tokens, e)[:m]):
                picks[t, e] = base + slot
        base, capacity = base + m, max(capacity, m)
    limits = case.get("thresholds")
    over = {(t, e) for t in range(T) for e in range(E) if limits and r["probs"][t][e].value > limits[e]}
    if limits and case["training"]:
        own = Var(float(o["threshold_coef"]) * sum((((t, e) in over) - ((t, e) in picks)) * (r["probs"][t][e].value - limits[e])
                                                  for t in range(T) for e in range(E)))
    if limits and not case["training"]:
        picks = {(t, e): sum((i, e) in over for i in range(t)) for t, e in over}
        capacity = None
    chosen, slot = gather_columns(case, picks)
    return dict(chosen=chosen, gates=[softmax(row) for row in pick(r["clean"], chosen)], slots=(slot, capacity), own=own)


@router("sinkhorn", lambda rng, E: dict(top_k=rng.randint(1, E)))
def sinkhorn(case, o, r):
    order = [ranking(row) for row in r["clean"]]
    if case["training"]:
        E = case["E"]
        for tokens in groups_of(case):
            plan = {t: [math.exp(h.value - max(x.value for x in r["clean"][t])) for h in r["clean"][t]] for t in tokens}
            shift = [0.0] * E
            for _ in range(100):
                scaled = {t: [p * math.exp(s) for p, s in zip(plan[t], shift)] for t in tokens}
                column = [math.fsum(plan[t][e] / math.fsum(scaled[t]) for t in tokens) for e in range(E)]
                new = [math.log(len(tokens) / (E * c)) if c > 0 else s for c, s in zip(column, shift)]
                change, shift = max(abs(a - b) for a, b in zip(new, shift)), new
                if change <= 1e-4:
                    break
            for t in tokens:
                value = [h.value + s for h, s in zip(r["clean"][t], shift)]
                order[t] = sorted(range(E), key=lambda e: (-round(value[e] - max(value), 9) if value[e] > -INF else INF, e))
    chosen = [row[: o["top_k"]] for row in order]
    gates = pick(r["probs"], chosen) if o["top_k"] > 1 else [[sigmoid(r["clean"][t][row[0]])] for t, row in enumerate(chosen)]
    return dict(k=o["top_k"], chosen=chosen, gates=gates)


def assign(scores, tokens, E):
    """The assignment with the largest total where an expert takes at most ceil(T / E): all of them, tried with memory."""
    most, best = -(-len(tokens) // E), {}

    def solve(i, left):
        if i == len(tokens):
            return 0.0, []
        if (i, left) not in best:
            options = []
            for e in range(E):
                if left[e]:
                    value, rest = solve(i + 1, left[:e] + (left[e] - 1,) + left[e + 1:])
                    options.append((scores[tokens[i]][e] + value, [e] + rest))
            best[i, left] = max(options)
        return best[i, left]

    return solve(0, (most,) * E)[1]


@router("base", lambda rng, E: dict(precision="1e-9"), masks=False)
def base(case, o, r):
    chosen = [ranking(row)[:1] for row in r["clean"]]
    for tokens in groups_of(case) if case["training"] else []:
        for t, e in zip(tokens, assign([[x.value for x in row] for row in r["clean"]], tokens, case["E"])):
            chosen[t] = [e]
    return dict(k=1, chosen=chosen, gates=[[sigmoid(r["clean"][t][row[0]])] for t, row in enumerate(chosen)])


@router("prototype", lambda rng, E: dict(top_k=rng.choice([g for g in range(1, E + 1) if E % g == 0])))
def prototype(case, o, r):
    k, size = o["top_k"], case["E"] // o["top_k"]
    parts = [[softmax(row[g * size:(g + 1) * size]) for g in range(k)] for row in r["clean"]]
    chosen = [[g * size + ranking(row[g * size:(g + 1) * size])[0] for g in range(k)] for row in r["clean"]]
    gates = [[parts[t][g][e - g * size] for g, e in enumerate(row)] for t, row in enumerate(chosen)]
    flat = [[p for part in row for p in part] for row in parts]
    probs = [[p / total(row) if total(row).value > 0 else Var(0.0) for p in row] for row in flat]
    return dict(k=k, chosen=chosen, gates=gates, probs=probs)


# ---- two levels ----


@router("hierarchical", lambda rng, E: dict(top_groups=rng.randint(1, 3), top_k=rng.randint(1, 3)))
def hierarchical(case, o, r):
    first = [[Var(x) for x in row] for row in case["primary"]]
    groups = len(first[0]) if first else 1
    size = case["E"] // groups
    k0, k1 = min(o["top_groups"], groups), min(o["top_k"], size)
    chosen, gates, shares = [], [], []
    for row, second in zip(first, r["clean"]):
        part = [second[g * size:(g + 1) * size] for g in range(groups)]
        top = ranking(row)[:k0]
        outer = softmax([row[g] for g in top])
        inside = {g: ranking(part[g])[:k1] for g in top}
        inner = {g: softmax([part[g][e] for e in inside[g]]) for g in top}
        chosen.append([g * size + e for g in top for e in inside[g]])
        gates.append([w * v for g, w in zip(top, outer) for v in inner[g]])
        shares.append([p * q for p, group in zip(softmax(row), part) for q in softmax(group)])
    return dict(k=k0 * k1, chosen=chosen, gates=gates, probs=shares, primary=first)


# ---- without scores ----


def balanced_table(ids, E):
    table, load = {}, [0.0] * E
    for i in sorted(set(ids), key=lambda i: (-ids.count(i), i)):
        table[i] = load.index(min(load))
        load[table[i]] += ids.count(i)
    return table


@router("hash", lambda rng, E: dict(hash=rng.choice(["balanced", "position"])), blind=True)
def hash_(case, o, r):
    if o["hash"] == "position":
        chosen = [[p % case["E"]] for p in case["positions"]]
    else:
        table = balanced_table(case["tokens"], case["E"])
        chosen = [[table[i]] for i in case["tokens"]]
    return dict(k=1, chosen=chosen, gates=[[Var(1.0)] for _ in chosen])


@router("random", lambda rng, E: dict(top_k=rng.randint(1, E)), blind=True)
def random_(case, o, r):
    chosen = [sorted(range(case["E"]), key=lambda e: (-row[e], e))[: o["top_k"]] for row in case["noise"]]
    return dict(k=o["top_k"], chosen=chosen, gates=[[Var(1.0 / o["top_k"]) for _ in row] for row in chosen])


@router("thor", lambda rng, E: dict(inference=rng.choice(["token", "sequence", "average"])), blind=True)
def thor(case, o, r):
    E, kind = case["E"], "sequence" if case["training"] else o["inference"]
    if kind == "average":
        return dict(k=E, chosen=[list(range(E)) for _ in r["clean"]], gates=[[Var(1.0 / E)] * E for _ in r["clean"]])
    chosen = [[int(case["noise"][t if kind == "token" else 0][0] * E)] for t in range(case["T"])]
    return dict(k=1, chosen=chosen, gates=[[Var(1.0)] for _ in chosen])


@router("language", lambda rng, E: {}, blind=True)
def language(case, o, r):
    return dict(k=1, chosen=[[max(0, label) % case["E"]] for label in case["labels"]], gates=[[Var(1.0)] for _ in r["clean"]])


# ---- dense to sparse ----


def above(weights, threshold):
    """Experts that weigh more than the threshold, and the heaviest, in order of weight."""
    order = [ranking(row) for row in weights]
    return [[e for j, e in enumerate(row) if j == 0 or weights[t][e].value > threshold] for t, row in enumerate(order)]


@router("dts", lambda rng, E: dict(temperature=rng.choice([0.5, 1, 2]), threshold=rng.choice([0.05, 0.2])))
def dts(case, o, r):
    logits = r["clean"]
    if case["training"]:
        logits = [[h - math.log(-math.log(u)) if h.value > -INF else h for h, u in zip(*rows)] for rows in zip(logits, case["noise"])]
    weights = [softmax([h / o["temperature"] if h.value > -INF else h for h in row]) for row in logits]
    chosen = above(weights, o["threshold"])
    return dict(chosen=chosen, gates=pick(weights, chosen))


def smooth_step(z, g):
    if z.value <= -g / 2 or z.value >= g / 2:
        return Var(float(z.value > 0))
    return z * z * z * (-2 / g**3) + z * (3 / (2 * g)) + 0.5


def dselect_columns(rng, o):
    digits = rng.randint(0, 3)
    return 2**digits, o["top_k"] * (digits + 1)


@router("dselect_k", lambda rng, E: dict(top_k=rng.randint(1, 3), gamma=rng.choice([1, 2, 4])), columns=dselect_columns)
def dselect_k(case, o, r):
    k, E = o["top_k"], case["E"]
    digits = E.bit_length() - 1
    weights = []
    for row in r["given"]:
        mix, w = softmax(row[k * digits:]), [Var(0.0)] * E
        for s in range(k):
            steps = [smooth_step(z, o["gamma"]) for z in row[s * digits:(s + 1) * digits]]
            for e in range(E):
                p = mix[s]
                for b, x in enumerate(steps):
                    p = p * x if e >> b & 1 else p * (Var(1.0) - x)
                w[e] = w[e] + p
        weights.append(w)
    chosen = above(weights, 0)
    return dict(chosen=chosen, gates=pick(weights, chosen), probs=weights)


# ---- mixtures of tokens ----


def soft_columns(rng, o):
    E = rng.randint(1, 4)
    return E, E * o["slots"]


@router("soft_moe", lambda rng, E: dict(slots=rng.randint(1, 3)), columns=soft_columns, own_slots=True)
def soft_moe(case, o, r):
    E, T, each = case["E"], case["T"], o["slots"]
    combine = [softmax(row) for row in r["given"]]
    dispatch = [[0.0] * (E * each) for _ in range(T)]
    for run in case["groups"] or case["sequences"] or [list(range(T))]:
        for s in range(E * each):
            for t, w in zip(run, softmax([r["given"][t][s] for t in run])):
                dispatch[t][s] = w.value
    shares = [[total(row[e * each:(e + 1) * each]) for e in range(E)] for row in combine]
    chosen = [ranking(row) for row in shares]
    return dict(k=E, chosen=chosen, gates=pick(shares, chosen), probs=shares, slots=([[t] * E for t in range(T)], None),
                soft=dict(dispatch=dispatch, combine=[[w.value for w in row] for row in combine]))


def product_columns(rng, o):
    n = rng.randint(2, 4)
    return n * n, o["heads"] * 2 * n


@router("product_key", lambda rng, E: dict(heads=rng.randint(1, 2), top_k=rng.randint(1, 2), query_dim=4, score=rng.choice(["softmax", "sigmoid"])),
        columns=product_columns, blind=True)
def product_key(case, o, r):
    chosen, gates, E = [], [], case["E"]
    n = math.isqrt(E)
    for row in r["given"]:
        experts, weights = [], []
        for h in range(o["heads"]):
            first, second = row[2 * h * n:(2 * h + 1) * n], row[(2 * h + 1) * n:(2 * h + 2) * n]
            score = [first[e // n] + second[e % n] for e in range(E)]
            kept = ranking(score)[: o["top_k"]]
            experts += kept
            weights += softmax([score[e] for e in kept]) if o["score"] == "softmax" else [sigmoid(score[e]) for e in kept]
        chosen.append(experts)
        gates.append(weights)
    return dict(k=o["heads"] * o["top_k"], chosen=chosen, gates=gates)


# ---- policies ----


def draw_from(p, u):
    mass = 0.0
    for e, x in enumerate(p):
        mass += x
        if x > 0 and u < mass:
            return e
    return max(range(len(p)), key=lambda e: p[e])


@router("reinforce", lambda rng, E: dict(policy_coef=rng.choice([1, 0.5]), entropy_coef=rng.choice([0, 0.1]), baseline="none",
                                         exploration=rng.choice(["sample", "epsilon_greedy"]), epsilon=rng.choice([0.05, 0.5])))
def reinforce(case, o, r):
    chosen, T = [ranking(row)[:1] for row in r["clean"]], case["T"]
    for t, row in enumerate(chosen):
        u, p = case["noise"][t][0], [x.value for x in r["probs"][t]]
        if case["training"] and o["exploration"] == "sample":
            row[0] = draw_from(p, u)
        elif case["training"] and u < o["epsilon"]:
            e = int(u / o["epsilon"] * case["E"])
            row[0] = e if e < case["E"] and p[e] > 0 else row[0]
    own = None
    if case["reward"] is not None:
        own = total(log(r["probs"][t][row[0]]) * (-o["policy_coef"] * case["reward"][t] / T) for t, row in enumerate(chosen))
        own = own + total(p * log(p) * (o["entropy_coef"] / T) for row in r["probs"] for p in row if p.value > 0)
    return dict(k=1, chosen=chosen, gates=[[Var(1.0)] for _ in chosen], own=own)
