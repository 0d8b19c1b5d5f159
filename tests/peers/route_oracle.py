#!/usr/bin/env python3
"""An independent, slow router lab, held against `coterie route` on random cases.

    route_oracle.py COTERIE [CASES [SEED]]

Written from the published formulas, on its own small reverse-mode differentiation, in plain Python: nothing of it follows the
library's code. Routers are in oracle_routers.py. Compares assignments, gates, slots, drops, load, importance, losses, capacity and gradients.
"""
import json
import math
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from oracle_core import INF, Var, backward, cv_squared, exp, log, normal_cdf, ranking, stop, total
from oracle_routers import ROUTERS, random_router, route

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


def serving_order(policy, tokens, r, j):
    """Who gets the slots of choice j first."""
    if r["unranked"]:  # no probability of each expert
        return tokens
    logits = [[x.value for x in row] for row in r["clean"]]
    if policy == "probability":
        keys = [probability(logits[t], r["chosen"][t][j]) if j < len(r["chosen"][t]) else -1.0 for t in tokens]
    elif policy == "batch_prioritised":
        keys = [max(probability(logits[t], e) for e in range(len(logits[t]))) for t in tokens]
    else:
        return tokens
    return [tokens[i] for i in by_probability(keys)]


def slots(case, r):
    """Slot of each choice, None = dropped or skipped, and the capacity."""
    c, T, E = case["capacity"], case["T"], case["E"]
    if "slots" in r:
        return r["slots"]
    result = [[None] * len(row) for row in r["chosen"]]
    groups = r.get("groups") or case["groups"]
    groups = groups if c and groups else [list(range(T))]
    base, largest = 0, None
    for tokens in groups:
        k = r["k"] if r["k"] else sum(map(len, r["chosen"])) / max(1, T)
        capacity = slots_each(c, k, len(tokens), E) if c else None
        used = [0] * E
        for j in range(max([len(r["chosen"][t]) for t in tokens], default=0)):
            for t in serving_order(c and c["policy"], tokens, r, j):
                if j >= len(r["chosen"][t]):
                    continue
                e = r["chosen"][t][j]
                if (t, j) in r.get("full", ()):
                    continue
                if (t, j) in r["skipped"]:
                    used[e] += r["hold"]
                elif capacity is None or used[e] < capacity:
                    result[t][j] = base + used[e]
                    used[e] += 1
        if c:
            base += capacity
            largest = capacity if largest is None else max(largest, capacity)
    return result, largest


def slots_each(c, k, T, E):
    exact = c["capacity_factor"] * k * T / E
    whole = round(exact)
    if abs(exact - whole) > 1e-9:
        whole = math.ceil(exact) if c["round"] == "ceil" else math.floor(exact)
    return max(c["min_capacity"], whole)


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


def root(x):
    s = math.sqrt(x.value)
    return Var(s, ((x, 0.5 / s),))


def entropy(row):
    return total(p * log(p) * -1.0 for p in row if p.value > 0)


def mean_row(rows, E):
    return [total(row[e] for row in rows) / float(max(1, len(rows))) for e in range(E)]


def weighed_shares(rule, r, used, run, E):
    """The sum over experts of what each received in a run of tokens (a constant), times its mean share there."""
    rows = [used[t] for t in run]
    first = rule["kind"] == "aux" and rule["choices"] == "first"
    rows = [row[:1] if first else row for row in rows]
    per_choice = rule["kind"] != "aux" or (not first and rule["divide_by_k"])
    bottom = sum(map(len, rows)) if per_choice else len(run)
    f = [E * sum(row.count(e) for row in rows) / bottom if bottom else 0.0 for e in range(E)]
    if rule["kind"] in ("device_balance", "communication_balance"):
        size = math.ceil(E / rule["num_groups"])
        devices = [list(range(d, min(E, d + size))) for d in range(0, E, size)]
        for device in devices:
            if rule["kind"] == "device_balance":
                amount = sum(f[e] for e in device) / len(device)
            else:
                amount = len(devices) / (rule["topk_group"] * len(run)) * sum(any(e in device for e in row) for row in rows)
            for e in device:
                f[e] = amount
    mean = mean_row([r["probs"][t] for t in run], E)
    return total(m * x for m, x in zip(mean, f))


def loss(case, r, rule):
    T, E = case["T"], case["E"]
    used = [[e for j, e in enumerate(row) if (t, j) not in r["skipped"]] for t, row in enumerate(r["chosen"])]
    if rule["kind"] == "importance":
        value = cv_squared([total(g for t in range(T) for g, c in zip(r["gates"][t], r["chosen"][t]) if c == e) for e in range(E)])
    elif rule["kind"] == "load":
        if r["std"] is not None:
            value = cv_squared(smooth_load(r, T, E, rule))
        else:
            value = cv_squared([Var(float(sum(row.count(e) for row in used))) for e in range(E)])
    elif "scope" in rule:
        runs = {"sequence": case["sequences"], "group": case["groups"]}.get(rule["scope"]) or [list(range(T))]
        runs = [run for run in runs if run]
        value = total(weighed_shares(rule, r, used, run, E) for run in runs) / float(max(1, len(runs)))
    elif rule["kind"] == "local_entropy":
        value = total(entropy(row) for row in r["probs"]) / float(max(1, T))
    elif rule["kind"] == "global_entropy":
        value = entropy(mean_row(r["probs"], E)) * -1.0 if T else Var(0.0)
        if rule["min_experts"]:
            value = value + math.log(rule["min_experts"])
            value = value if T and value.value > 0 else Var(0.0)
    elif rule["kind"] == "sparsity":
        value = total(total(row) / root(total(x * x for x in row)) for row in r["probs"] if total(row).value > 0) / float(max(1, T))
    elif rule["kind"] == "mean_importance":
        value = total(m * m for m in mean_row(r["probs"], E)) * float(E) if T else Var(0.0)
    else:
        value = Var(0.0)
        for row in r["clean"]:
            live = [x for x in row if x.value > -INF]
            if live:
                shift = max(x.value for x in live)
                lse = log(total(exp(x - shift) for x in live)) + shift
                value = value + lse * lse * (1 / T)
    return value * rule["coef"]


def live_only(case):
    """The case without tokens whose experts are all masked, and which tokens are left."""
    scored = not ROUTERS[case["router"]["kind"]].columns and ROUTERS[case["router"]["kind"]].masks
    live = [t for t in range(case["T"]) if not scored or any(x > -INF for x in case["logits"][t])]
    some = dict(case, T=len(live))
    for key in ("groups", "sequences"):
        if case[key]:
            runs = [[live.index(t) for t in run if t in live] for run in case[key]]
            some[key] = [run for run in runs if run]
    for key in ("logits", "noise", "raw", "primary", "tokens", "labels", "positions", "reward"):
        some[key] = case[key] and [case[key][t] for t in live]
    if not case["positions"]:
        some["positions"] = [t - run[0] for run in case["sequences"] or [list(range(case["T"]))] for t in run if t in live]
    return some, live


def oracle(whole):
    case, live = live_only(whole)
    out = oracle_of_live(case)
    for entry in out["assignments"] + out["dropped"]:
        entry["token"] = live[entry["token"]]
    for key, rows in out["gradient"].items():
        width = len((whole["primary"] if key == "primary_logits" else whole["logits"])[0])
        out["gradient"][key] = [rows[live.index(t)] if t in live else [0.0] * width for t in range(whole["T"])]
    return out


def oracle_of_live(case):
    r = route(case)
    slot, capacity = slots(case, r)
    T, E = case["T"], case["E"]
    out = {"assignments": [], "dropped": [], "load": [0] * E, "importance": [0.0] * E, "losses": {}, "capacity": capacity}
    for t in range(T):
        for j, (e, g, s) in enumerate(zip(r["chosen"][t], r["gates"][t], slot[t])):
            if (t, j) not in r["skipped"]:
                out["load"][e] += 1
                out["importance"][e] += g.value
            if s is None:
                out["dropped"].append({"token": t, "expert": e})
            else:
                out["assignments"].append({"token": t, "expert": e, "gate": g.value, "slot": s})
    out.update(r.get("soft", {}))
    losses, seen = [], {}
    for rule in case["balance"]:
        kind = rule["kind"]
        seen[kind] = seen.get(kind, 0) + 1
        losses.append(loss(case, r, rule))
        out["losses"][kind if seen[kind] == 1 else "%s.%d" % (kind, seen[kind])] = losses[-1].value
    if r.get("own") is not None:
        losses.append(r["own"])
        out["losses"][case["router"]["kind"]] = r["own"].value
    backward(total(losses))
    out["gradient"] = {"logits": [[x.grad for x in row] for row in r["given"]]}
    if case["primary"] is not None:
        out["gradient"]["primary_logits"] = [[x.grad for x in row] for row in r["primary"]]
    if case["raw"] is not None or r["std"] is not None:
        out["gradient"]["raw_noise_std"] = [[x.grad for x in row] for row in r["raw"]]
    return out


# ---- cases ----


def flow(spec):
    return "{%s}" % ", ".join("%s: %s" % (key, json.dumps(v) if isinstance(v, bool) else v) for key, v in spec.items())


READS_SCORES = ["aux", "z_loss", "expert_balance", "device_balance", "communication_balance", "local_entropy", "global_entropy", "sparsity",
                "mean_importance"]


def random_rule(rng, scores):
    kind = rng.choice(["importance", "load"] + scores)
    rule = {"kind": kind, "coef": rng.choice([1, 0.1, 2.5])}
    if kind == "load":
        rule.update(threshold=rng.choice(["excluding", "kth"]), threshold_grad=rng.random() < 0.5)
    if kind == "aux":
        rule.update(choices=rng.choice(["first", "all"]), divide_by_k=rng.random() < 0.5)
    if kind in ("aux", "expert_balance", "device_balance", "communication_balance"):
        rule.update(scope=rng.choice(["batch", "sequence", "group"]))
    if kind in ("device_balance", "communication_balance"):
        rule.update(num_groups=rng.randint(1, 3))
    if kind == "communication_balance":
        rule.update(topk_group=rng.randint(1, 2))
    if kind == "global_entropy":
        rule.update(min_experts=rng.choice([0, 1.5, 2.5, 4]))
    return rule


def random_groups(rng, T):
    if T < 2 or rng.random() < 0.6:
        return None
    cut = rng.randint(1, T - 1)
    return [list(range(cut)), list(range(cut, T))]


def random_case(rng, kind):
    T, E = rng.randint(1, 9), rng.randint(1, 6)
    router = random_router(rng, kind, E)
    columns, masked = E, not ROUTERS[kind].columns and ROUTERS[kind].masks
    if ROUTERS[kind].columns:
        E, columns = ROUTERS[kind].columns(rng, router)
    scale, grid = rng.choice([0.3, 1, 4, 30]), rng.random() < 0.3  # on a grid there are ties
    logits = [[rng.gauss(0, scale) for _ in range(columns)] for _ in range(T)]
    if grid and masked:  # elsewhere ties are decided by rounding
        logits = [[float(round(x)) for x in row] for row in logits]
    mask = rng.choice([0, 0, 0.2, 0.6]) if masked else 0
    logits = [[-INF if rng.random() < mask else x for x in row] for row in logits]
    draws = lambda: [[rng.gauss(0, 1) for _ in range(columns)] for _ in range(T)]
    capacity = None
    if rng.random() < 0.7 and not ROUTERS[kind].own_slots:
        capacity = {"capacity_factor": rng.choice([0.5, 1, 1.1, 1.25, 2]),
                    "policy": rng.choice(["position", "probability", "batch_prioritised"]),
                    "min_capacity": rng.choice([0, 0, 2]), "round": rng.choice(["ceil", "floor"])}
    noise = draws() if kind == "noisy_top_k" else [[rng.random() for _ in range(columns)] for _ in range(T)]
    groups = rng.choice([g for g in range(1, E + 1) if E % g == 0])
    scores = [] if ROUTERS[kind].blind else [k for k in ["aux", "z_loss"] + READS_SCORES if not ROUTERS[kind].columns or k != "z_loss"]
    biased = kind in ("top_k", "switch", "cosine", "deepseek") and rng.random() < 0.4
    return {"T": T, "E": E, "router": router, "bias": [rng.gauss(0, 0.3) for _ in range(E)] if biased else None,
            "thresholds": [rng.random() for _ in range(E)] if kind == "batchwise" and rng.random() < 0.6 else None, "logits": logits, "noise": noise, "raw": draws() if rng.random() < 0.6 else None,
            "groups": random_groups(rng, T), "training": rng.random() < 0.7, "balance": [random_rule(rng, scores) for _ in range(rng.randint(0, 4))],
            "primary": [[rng.gauss(0, 1) for _ in range(groups)] for _ in range(T)] if kind == "hierarchical" else None,
            "tokens": [rng.randint(0, 5) for _ in range(T)], "labels": [rng.randint(-1, 7) for _ in range(T)],
            "positions": [rng.randint(0, 9) for _ in range(T)] if rng.random() < 0.5 else None,
            "sequences": random_groups(rng, T), "reward": [rng.gauss(0, 1) for _ in range(T)] if kind == "reinforce" else None, "capacity": capacity}


def write_input(case):
    text = {"logits": case["logits"], "noise": case["noise"], "training": case["training"]}
    if case["raw"]:
        text["raw_noise_std"] = case["raw"]
    for key in ("bias", "thresholds", "tokens", "labels", "positions", "reward"):
        if case[key]:
            text[key] = case[key]
    if case["primary"] is not None:
        text["primary_logits"] = case["primary"]
    if case["sequences"]:
        text["sequences"] = [len(run) for run in case["sequences"]]
    if case["groups"]:
        text["group"] = [len(group) for group in case["groups"]]
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
    kinds = sorted(ROUTERS)
    cases = [random_case(rng, kinds[i % len(kinds)]) for i in range(count)]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda case: run(binary, case), cases))
    for i, (case, got) in enumerate(zip(cases, results)):
        wrong = difference(got, oracle(case))
        if wrong:
            raise SystemExit("case %d (seed %d): %s\n%s\n%s" % (i, seed, wrong, json.dumps({k: case[k] for k in ("router", "balance", "capacity")}), write_input(case)))
    print("%d random cases agree with the oracle" % count)


if __name__ == "__main__":
    main()
