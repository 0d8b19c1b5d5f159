#!/usr/bin/env python3
"""Published and hand-worked cases of routers and balance rules, held against `coterie route`.

    route_vectors.py COTERIE

Each case: name, router, input, what must come out, and further options of the command line. Numbers are known to six decimals.
"""
import json
import subprocess
import sys

SIX = [[0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.8, 0.15, 0.05]]


def logs(rows):
    """Logits whose softmax are the rows (which sum to one)."""
    from math import log

    return [[log(p) if p > 0 else float("-inf") for p in row] for row in rows]


def by_draws(draws, experts):
    """The same uniform draw for every expert of a token."""
    return [[u] * experts for u in draws]


GSHARD = {"logits": logs(SIX), "noise": by_draws([0.9, 0.3, 0.1, 0.99, 0.5, 0.2], 3), "training": True}
FIRST = {"0:0": 0.666667, "1:0": 0.555556, "1:2": 0.444444, "3:1": 0.625, "4:1": 0.666667}

NOISY = {"logits": [[0.5, 0.2, -0.1, 0]], "raw_noise_std": [[0, 0.5, -0.5, 1]], "noise": [[0.3, -1, 1.2, 0.4]], "training": True}

CASES = [
    ("top-2, renormalised", "{kind: top_k, top_k: 2}", {"logits": [[1, 0.2, -0.5, 0.7]]},
     {"gates": {"0:0": 0.574443, "0:3": 0.425557}}, []),
    ("GShard, every second choice takes a slot", "{kind: gshard}", GSHARD,
     {"gates": FIRST, "capacity": 2, "load": [4, 4, 2], "losses": {"aux": 1.275}, "dropped": [[0, 1], [2, 0], [2, 1], [3, 2], [4, 2], [5, 0], [5, 1]]},
     ["--capacity", "{capacity_factor: 0.5}", "--balance", "{kind: aux, choices: first, coef: 1}"]),
    ("GShard, skipped ones take none", "{kind: gshard, counter: passed}", GSHARD, {"gates": dict(FIRST, **{"4:2": 0.333333})},
     ["--capacity", "{capacity_factor: 0.5}"]),
    ("first come, first served", "{kind: switch}", {"logits": logs(SIX)}, {"gates": {"0:0": 0.6, "1:0": 0.5, "3:1": 0.5, "4:1": 0.6}},
     ["--capacity", "{capacity_factor: 1}"]),
    ("batch-prioritised", "{kind: switch}", {"logits": logs(SIX)}, {"gates": {"2:0": 0.7, "3:1": 0.5, "4:1": 0.6, "5:0": 0.8}},
     ["--capacity", "{capacity_factor: 1, policy: batch_prioritised}"]),
    ("expert choice", "{kind: expert_choice, capacity_factor: 1}", {"logits": logs(SIX)},
     {"gates": {"1:2": 0.4, "2:0": 0.7, "3:1": 0.5, "3:2": 0.3, "4:1": 0.6, "5:0": 0.8}, "slots": {"5:0": 0, "2:0": 1, "4:1": 0, "3:1": 1, "1:2": 0, "3:2": 1},
      "capacity": 2, "load": [2, 2, 2], "dropped": []}, []),
    ("DeepSeek-V2: the best expert decides for its group", "{kind: deepseek, top_k: 2, num_groups: 2, topk_group: 1}",
     {"logits": [[3, 0, 2, 2.5]]}, {"gates": {"0:0": 0.494023, "0:1": 0.024596}}, []),
    ("DeepSeek-V3: the two best decide, the bias does not enter gates",
     "{kind: deepseek, top_k: 2, num_groups: 2, topk_group: 1, score: sigmoid, group_score: top2_sum, norm_topk_prob: true, routed_scaling_factor: 2.5}",
     {"logits": [[3, 0, 2, 2.5]], "bias": [0, 0, -0.1, 0]}, {"gates": {"0:3": 1.280018, "0:2": 1.219982}}, []),
    ("DeepSeek drops what a device has no room for, lowest affinity first",
     "{kind: deepseek, top_k: 2, num_groups: 2, device_capacity: 0.8}",
     {"logits": logs([[0.4, 0.3, 0.2, 0.1], [0.5, 0.2, 0.2, 0.1], [0.1, 0.6, 0.2, 0.1], [0.1, 0.1, 0.3, 0.5], [0.3, 0.4, 0.2, 0.1]]), "training": True},
     {"gates": {"0:0": 0.4, "1:0": 0.5, "2:1": 0.6, "2:2": 0.2, "3:3": 0.5, "3:2": 0.3, "4:1": 0.4},
      "dropped": [[0, 1], [1, 1], [4, 0]], "load": [3, 4, 2, 1], "capacity": None}, []),
    ("Qwen2-MoE's gates by name", "{kind: top_k, preset: qwen2_moe, top_k: 2}", {"logits": logs(SIX[:1])}, {"gates": {"0:0": 0.6, "0:1": 0.3}}, []),
    ("Mixtral's gates by name", "{kind: top_k, preset: mixtral}", {"logits": logs(SIX[:1])}, {"gates": {"0:0": 0.666667, "0:1": 0.333333}}, []),
    ("Soft MoE: slots mix tokens, tokens mix slots", "{kind: soft_moe}", {"logits": logs([[0.5, 0.25], [0.25, 0.5], [0.25, 0.25]])},
     {"dispatch": [[0.5, 0.25], [0.25, 0.5], [0.25, 0.25]], "combine": [[0.666667, 0.333333], [0.333333, 0.666667], [0.5, 0.5]], "importance": [1.5, 1.5]}, []),
    ("ranking is by logits, also where probabilities are 0", "{kind: top_k, top_k: 2}", {"logits": [[80, -3000, -2000]], "bias": [0, 0, 0]},
     {"gates": {"0:0": 1.0, "0:2": 0.0}}, []),
    ("and where sigmoids are 1", "{kind: deepseek, score: sigmoid, top_k: 1}", {"logits": [[40, 50, 70, 60]], "bias": [0.5] * 4}, {"gates": {"0:2": 1.0}}, []),
    ("noisy top-k and its load", "{kind: noisy_top_k, top_k: 2}", NOISY,
     {"gates": {"0:0": 0.545285, "0:3": 0.454715}, "losses": {"load": 0.200594}, "gradient0": [0.280713, -0.054512, -0.709866, 0.483665],
      "raw0": [-0.003814, -0.011355, -0.339840, 0.142874]}, ["--balance", "{kind: load, coef: 1}"]),
    ("load, its threshold a constant", "{kind: noisy_top_k, top_k: 2}", NOISY,
     {"losses": {"load": 0.200594}, "gradient0": [0.280713, -0.054512, -0.482978, -0.053825], "raw0": [-0.003814, -0.011355, -0.237049, -0.014300]},
     ["--balance", "{kind: load, coef: 1, threshold_grad: false}"]),
    ("losses read clean logits, also under noise", "{kind: noisy_top_k, top_k: 1}",
     {"logits": [[1, 2, 3]], "noise": [[9, 0, -9]], "training": True}, {"load": [1, 0, 0], "losses": {"aux": 0.270092, "z_loss": 11.611778}},
     ["--balance", "{kind: aux, coef: 1}", "--balance", "{kind: z_loss, coef: 1}"]),
    ("load with the k-th of all, every expert chosen: the hard count", "{kind: noisy_top_k, top_k: 2}",
     {"logits": [[0.5, 0.2], [1, 2]], "noise": [[0.3, -1], [1, 1]], "training": True}, {"load": [2, 2], "losses": {"load": 0.0}},
     ["--balance", "{kind: load, coef: 1, threshold: kth}"]),
    ("larger probabilities of a choice go first", "{kind: top_k, top_k: 2}", {"logits": logs([[0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])},
     {"dropped": [[1, 1], [2, 0]], "slots": {"0:0": 1, "0:1": 1, "1:0": 0, "2:1": 0}, "capacity": 2},
     ["--capacity", "{capacity_factor: 0.6, policy: probability, round: ceil}"]),
    ("batchwise: ceil(k T / E) tokens each", "{kind: batchwise, top_k: 1}", {"logits": logs(SIX[:4]), "training": True},
     {"load": [2, 2, 2], "capacity": 2, "gates": {"0:0": 0.666667, "0:1": 0.333333, "1:2": 1.0, "2:0": 1.0, "3:1": 0.625, "3:2": 0.375}}, []),
    ("product keys", "{kind: product_key, heads: 1, top_k: 2, query_dim: 4}", {"logits": [[0.25, 1, 0.75, -0.5, 1, 0.5, -0.35, 0.7]]},
     {"gates": {"0:4": 0.562177, "0:8": 0.437823}}, []),
    ("top-2 as it is", "{kind: top_k, top_k: 2, norm_topk_prob: false}", {"logits": [[1, 0.2, -0.5, 0.7]]}, {"gates": {"0:0": 0.414374, "0:3": 0.306976}}, []),
    ("two of two groups, one expert in each", "{kind: hierarchical, top_groups: 2, top_k: 1}", {"logits": [[1, 2, 9, 3]], "primary_logits": [[2, 1]]},
     {"gates": {"0:1": 0.731059, "0:2": 0.268941}}, []),
    ("loss-free bias: the overloaded goes down, the starved up", "{kind: switch}", {"logits": [[2, 1, 0], [2, 1, 0], [0, 1, 0]]},
     {"load": [2, 1, 0], "bias": [-0.001, 0.0, 0.001], "losses": {}}, ["--balance", "{kind: loss_free}"]),
    ("Switch's auxiliary loss", "{kind: switch}", {"logits": [[2, 1, 0, 0], [1, 3, 0, -1], [0.5, 0, 0, 0], [0, 0, 2, 1]]},
     {"losses": {"aux": 1.155642}, "gradient0": [0.072060, -0.029619, -0.010896, -0.031545]}, ["--balance", "{kind: aux, coef: 1}"]),
    ("DeepSeek's balance losses", "{kind: top_k, top_k: 2}", {"logits": logs([[0.5, 0.3, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]])},
     {"losses": {"expert_balance": 1.5, "device_balance": 1.5, "communication_balance": 1.5}},
     ["--balance", "{kind: expert_balance, coef: 1}", "--balance", "{kind: device_balance, coef: 1, num_groups: 2}",
      "--balance", "{kind: communication_balance, coef: 1, num_groups: 2, topk_group: 1}"]),
    ("SpeechMoE's and LIMoE's losses", "{kind: switch}", {"logits": logs([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])},
     {"losses": {"sparsity": 1.491521, "mean_importance": 1.095, "local_entropy": 0.915736, "global_entropy": 0.0, "global_entropy.2": -1.048654,
                 "global_entropy.3": 0.049958}},
     ["--balance", "{kind: sparsity, coef: 1}", "--balance", "{kind: mean_importance, coef: 1}", "--balance", "{kind: local_entropy, coef: 1}",
      "--balance", "{kind: global_entropy, coef: 1, min_experts: 2}", "--balance", "{kind: global_entropy, coef: 1}",
      "--balance", "{kind: global_entropy, coef: 1, min_experts: 3}"]),
    ("S-BASE: shares of the plan decide", "{kind: sinkhorn}", {"logits": [[1, 0], [2, 0.5], [0, 1], [0.5, 0.2]], "training": True},
     {"gates": {"0:0": 0.731059, "1:0": 0.880797, "2:1": 0.731059, "3:1": 0.549834}}, []),
    ("BASE: the assignment with the largest total", "{kind: base}",
     {"logits": [[0.9, 0.8, 0.1], [0.8, 0.7, 0.2], [0.9, 0.1, 0], [0.6, 0.5, 0.4], [0.7, 0.6, 0.6], [0.2, 0.1, 0.3]], "training": True},
     {"load": [2, 2, 2]}, []),
    ("a balanced hash counts the given tokens", "{kind: hash, hash: balanced}", {"logits": [[0, 0]] * 6, "tokens": [5, 5, 5, 1, 1, 3]},
     {"load": [3, 3], "gates": {"0:0": 1.0, "1:0": 1.0, "2:0": 1.0, "3:1": 1.0, "4:1": 1.0, "5:1": 1.0}}, []),
    ("two levels", "{kind: hierarchical, top_groups: 1, top_k: 1}", {"logits": [[1, 2, 9, 3]], "primary_logits": [[2, 1]]}, {"gates": {"0:1": 1.0}}, []),
    ("a policy's loss: the better expert's reward raises it", "{kind: reinforce, policy_coef: 1, entropy_coef: 0}",
     {"logits": [[0, 0]], "reward": [2]}, {"gates": {"0:0": 1.0}, "losses": {"reinforce": 1.386294}, "gradient0": [-1.0, 1.0]}, []),
    ("mean assignment: expert 0 is left out after two tokens", "{kind: dense_softmax}", {"logits": [[9, -9]] * 4, "training": True},
     {"load": [4, 4], "gates": {"0:0": 1.0, "0:1": 0.0, "1:0": 1.0, "1:1": 0.0, "2:1": 1.0, "2:0": 0.0, "3:0": 1.0, "3:1": 0.0}},
     ["--balance", "{kind: mean_assignment, margin: 0.75}"]),
    ("z-loss", "{kind: top_k, top_k: 1}", {"logits": [[1, 2, 3]]}, {"losses": {"z_loss": 11.611778}, "gradient0": [0.613577, 1.667876, 4.533758]},
     ["--balance", "{kind: z_loss, coef: 1}"]),
]


def run(binary, router, text, more):
    command = [binary, "route", "--gradient", "--json", "--router", router] + more
    done = subprocess.run(command, input=json.dumps(text), capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.strip()}


def near(got, want):
    if isinstance(want, dict):
        return set(got) == set(want) and all(near(got[k], v) for k, v in want.items())
    if isinstance(want, list):
        return len(got) == len(want) and all(near(g, w) for g, w in zip(got, want))
    return got == want or (isinstance(want, float) and abs(got - want) <= 1.5e-6)


def view(out, key):
    place = lambda a: "%d:%d" % (a["token"], a["expert"])
    if "error" in out:
        return out["error"]
    if key == "gates":
        return {place(a): a["gate"] for a in out["assignments"]}
    if key == "slots":
        return {place(a): a["slot"] for a in out["assignments"]}
    if key == "dropped":
        return [[a["token"], a["expert"]] for a in out["dropped"]]
    if key.startswith("gradient"):
        return out["gradient"]["logits"][int(key[8:])]
    if key.startswith("raw"):
        return out["gradient"]["raw_noise_std"][int(key[3:])]
    return out[key]


def main():
    wrong = 0
    for name, router, text, want, more in CASES:
        out = run(sys.argv[1], router, text, more)
        for key, value in want.items():
            if not near(view(out, key), value):
                wrong += 1
                print("%s: %s is %s, expected %s" % (name, key, view(out, key), value))
    if wrong:
        raise SystemExit(1)
    print("%d published and hand-worked cases agree" % len(CASES))


if __name__ == "__main__":
    main()
