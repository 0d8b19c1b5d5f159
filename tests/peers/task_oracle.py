"""All scores of `coterie eval --task` from the log probabilities in --answers, by the formulas in docs/evaluation.md and nothing else.

    task_oracle.py TASK.jsonl ANSWERS.jsonl RESULT.json

Plain Python, from the maths. Prints what differs and fails.
"""
import json, math, sys

TINY = 1e-9


def mean_and_error(values):
    n = len(values)
    mean = sum(values) / n
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n) if n > 1 else None


def softmax(logits, temperature=1.0):
    top = max(logits)
    e = [math.exp((x - top) / temperature) for x in logits]
    return [x / sum(e) for x in e]


def ece(predictions, bins, mass):
    predictions = sorted(predictions)
    n, error = len(predictions), 0.0
    for b in range(bins):
        if mass:
            inside = predictions[b * n // bins : (b + 1) * n // bins]
        else:
            inside = [p for p in predictions if (b / bins <= p[0] < (b + 1) / bins) or (b + 1 == bins and p[0] == 1)]
        if inside:
            error += abs(sum(p[0] for p in inside) - sum(p[1] for p in inside)) / n
    return error


def texts(question):
    if "sentence_good" in question:
        return [question["sentence_good"], question["sentence_bad"]]
    return question["choices"] if "choices" in question else [question["continuation"]] * len(question.get("context_options", [0]))


def check(what, got, want, slack=TINY):
    if want is None or got is None:
        assert want is got, (what, got, want)
    else:
        assert abs(got - want) <= slack * max(1, abs(want)), (what, got, want)


def main():
    lines = open(sys.argv[1], encoding="utf-8").readlines()
    answers = [json.loads(line) for line in open(sys.argv[2], encoding="utf-8")]
    [result] = json.load(open(sys.argv[3], encoding="utf-8"))["tasks"]
    scores, n = result["scores"], len(answers)
    questions = [json.loads(lines[answer["line"] - 1]) for answer in answers]
    assert result["questions"] == n
    lls, golds = [], []
    for question, answer in zip(questions, answers):
        assert answer["gold"] == question.get("gold", 0)
        for text, alternative in zip(texts(question), answer["alternatives"], strict=True):
            assert alternative["continuation"].endswith(text)
            assert alternative["characters"] == len(text) and alternative["bytes"] == len(text.encode())
        lls.append([a["log_probability"] for a in answer["alternatives"]])
        golds.append(answer["gold"])
    completion = result["kind"] == "completion"
    divisors = {"acc_norm": "characters", "acc_bytes": "bytes", "acc_token": "tokens"}
    seen = {"bits_per_byte"}
    for name in ("acc", *divisors, "acc_mutual_info"):
        if completion or name not in scores:
            continue
        seen.add(name)
        right = []
        for ll, gold, answer in zip(lls, golds, answers):
            if name in divisors:
                ll = [x / a[divisors[name]] for x, a in zip(ll, answer["alternatives"])]
            if name == "acc_mutual_info":
                ll = [x - a["unconditional"] for x, a in zip(ll, answer["alternatives"])]
            right.append(ll.index(max(ll)) == gold)
        mean, error = mean_and_error(right)
        check(name, scores[name]["value"], mean)
        check(name + " stderr", scores[name]["stderr"], error)
        assert 0 <= scores[name]["tie_rate"] <= 1
    if completion:
        seen |= {"acc", "perplexity", "loss", "token_acc"}
        check("acc", scores["acc"]["value"], mean_and_error([a["greedy"] for a in answers])[0])
        mean, error = mean_and_error([ll[0] for ll in lls])
        check("perplexity", scores["perplexity"]["value"], math.exp(-mean))
        check("perplexity stderr", scores["perplexity"]["stderr"], error and math.exp(-mean) * error)
        tokens = sum(a["alternatives"][0]["tokens"] for a in answers)
        check("loss", scores["loss"]["value"], -sum(ll[0] for ll in lls) / tokens)
        assert result["calibration"]["token"]["count"] == tokens
    else:
        seen.add("brier_score")
        p = [softmax(ll) for ll in lls]
        mean, error = mean_and_error([sum((x - (i == gold)) ** 2 for i, x in enumerate(q)) for q, gold in zip(p, golds)])
        check("brier_score", scores["brier_score"]["value"], mean)
        check("brier_score stderr", scores["brier_score"]["stderr"], error)
        check("chance", result["chance"], sum(1 / len(ll) for ll in lls) / n)
        top = [(max(q), q.index(max(q)) == gold) for q, gold in zip(p, golds)]
        every = [(x, i == gold) for q, gold in zip(p, golds) for i, x in enumerate(q)]
        for name, predictions in (("top", top), ("all", every)):
            calibration = result["calibration"][name]
            check(name + " ece_width", calibration["ece_width"], ece(predictions, calibration["bins"], False))
            check(name + " ece_mass", calibration["ece_mass"], ece(predictions, calibration["bins"], True))
            assert sum(b["count"] for b in calibration["width"]) == sum(b["count"] for b in calibration["mass"]) == len(predictions)
        temperature = result["calibration"]["temperature"]
        if temperature is not None:  # no neighbour is better
            cost = lambda t: -sum(math.log(softmax(ll, t)[gold]) for ll, gold in zip(lls, golds))
            assert all(cost(temperature) <= cost(temperature * f) + 1e-9 for f in (0.9, 0.99, 1.01, 1.1)), temperature
    bits = -sum(ll[gold] for ll, gold in zip(lls, golds)) / math.log(2) / sum(a["alternatives"][a["gold"]]["bytes"] for a in answers)
    check("bits_per_byte", scores["bits_per_byte"]["value"], bits)
    assert seen == set(scores), seen ^ set(scores)


main()
