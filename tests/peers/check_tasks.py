"""`coterie eval --task` against lm-eval: the same requests to the same trained checkpoints, metric by metric.

    check_tasks.py COTERIE [--shared FOLDER]

A dense (Llama) and a sparse model (Mixtral) are trained for some seconds on the texts of data/demo; transformers loads their folders, and lm-eval asks it the
questions of local task files: multiple choice, context choice, minimal pairs, completions; with examples, with contexts longer than the window,
with white space at the end of contexts. With --shared FOLDER (or COTERIE_SHARED) the first questions of real task files under FOLDER/data/eval too;
of BLiMP, MMLU and BIG-Bench Hard we read the published files, and lm-eval rows made from them here, in the words of its own tasks.

Tolerances. Both compute in f32; a log probability is a sum over tokens, and each differs by some 1e-5 nats at most: 2e-4 for all of a
continuation. An accuracy may differ by a question for every question whose best alternatives lie within twice that; no others.
"""
import argparse, contextlib, csv, gzip, importlib.metadata, io, itertools, json, logging, os, pathlib, random, subprocess, sys, tarfile, tempfile
import warnings

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1", LOGLEVEL="ERROR",
                  HF_DATASETS_DISABLE_PROGRESS_BARS="1")
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import lm_eval
from peers_table import record
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
NATS = 2e-4
CONTEXT = 96
MODELS = {
    "dense": "{kind: dense, intermediate_size: 128}",
    "sparse": "{kind: sparse, router: {kind: top_k, top_k: 2}, experts: {kind: ffn, num_experts: 4, intermediate_size: 64}}",
}
SCORES = ["acc", "acc_norm", "acc_bytes", "acc_mutual_info", "brier_score"]

failures = 0


def check(what, good, detail=""):
    global failures
    failures += not good
    print(f"  {'ok  ' if good else 'FAIL'} {what}{detail}")


# ---- questions of our own, from sentences of the training texts ----

WORDS = "the sea king sword night house return pointer table Gott Datei y dijo hombre tierra int static void agua señor über schön naïve 東京".split()


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def questions(seed, count):
    draw = random.Random(seed)
    text = lambda least, most: " ".join(draw.choices(WORDS, k=draw.randint(least, most)))
    for _ in range(count):
        yield draw, text


def choice_rows(seed, count, end=""):
    for draw, text in questions(seed, count):
        choices = [text(1, 6) for _ in range(4)]
        yield {"query": "Question: " + text(3, 25) + end, "choices": choices, "gold": draw.randrange(4)}


def context_rows(seed, count):
    for draw, text in questions(seed, count):
        start = text(2, 12)
        yield {"context_options": [start + " " + w for w in draw.sample(WORDS, 2)], "continuation": text(1, 6), "gold": draw.randrange(2)}


def pair_rows(seed, count):
    for draw, text in questions(seed, count):
        words = text(4, 9).split()
        yield {"sentence_good": " ".join(words), "sentence_bad": " ".join(draw.sample(words, len(words)))}


def completion_rows(seed, count, space=""):
    for draw, text in questions(seed, count):
        yield {"context": text(3, 40), "continuation": space + text(1, 3)}


def short_rows(path, folder):
    """The first hundred rows whose answers fit into the window even at a token a byte: lm-eval takes no others."""
    lines = (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8")
    answers = lambda row: row.get("choices") or [row["continuation"]]
    rows = (row for row in map(json.loads, lines) if all(len(a.encode()) < CONTEXT - 6 for a in answers(row)))
    return write_rows(folder / f"{path.name.split('.')[0]}.jsonl", itertools.islice(rows, 100))


def member(archive, name):
    with tarfile.open(archive) as files:
        return files.extractfile(name).read().decode()


def blimp_rows(archive, name):
    return list(map(json.loads, member(archive, name).splitlines()))


def mmlu_rows(archive, name):
    """In the words of lm-eval's mmlu: {{question.strip()}}\\nA. {{choices[0]}} ... \\nAnswer:"""
    for question, a, b, c, d, answer in csv.reader(io.StringIO(member(archive, name), newline="")):
        yield {"query": f"{question.strip()}\nA. {a}\nB. {b}\nC. {c}\nD. {d}\nAnswer:", "choices": list("ABCD"), "gold": "ABCD".index(answer)}


def bbh_rows(path):
    """In the words of lm-eval's bbh: Q: {{input}}\\nA:, choices as its leaderboard_bbh has them for this task."""
    examples = json.loads(path.read_text(encoding="utf-8"))["examples"]
    choices = sorted({e["target"] for e in examples})
    for e in examples:
        yield {"query": f"Q: {e['input']}\nA:", "choices": choices, "gold": choices.index(e["target"])}


# ---- lm-eval ----


def lm_eval_task(name, path, kind, *, shots_from=None, query_end="", delimiter=" ", description=""):
    """What lm-eval calls a task, for rows of this kind. The delimiter is its own default, a space."""
    files = {"test": str(path)}
    if shots_from:
        files["train"] = str(shots_from)
    config = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test", "target_delimiter": delimiter,
              "description": description, "output_type": "multiple_choice"}
    metrics = SCORES
    if kind == "choices":
        config |= {"doc_to_text": lambda d: d["query"] + query_end, "doc_to_target": "gold", "doc_to_choice": "choices"}
    elif kind == "contexts":
        config |= {"doc_to_text": lambda d: d["gold"], "doc_to_target": "continuation", "doc_to_choice": "context_options"}
        metrics = ["acc", "brier_score"]
    elif kind == "pairs":
        config |= {"doc_to_text": "", "doc_to_target": 0, "doc_to_choice": lambda d: [d["sentence_good"], d["sentence_bad"]]}
        metrics = ["acc", "acc_norm", "acc_bytes", "brier_score"]
    else:
        config |= {"output_type": "loglikelihood", "doc_to_text": "context", "doc_to_target": lambda d: delimiter + d["continuation"]}
        metrics = ["acc", "perplexity"]
    if shots_from:
        config |= {"fewshot_split": "train", "fewshot_config": {"sampler": "first_n"}}
    return config | {"metric_list": [{"metric": m} for m in metrics]}, metrics


def ask_lm_eval(model, config, shots, limit):
    with contextlib.redirect_stderr(io.StringIO()):  # progress
        result = lm_eval.simple_evaluate(model=model, tasks=[config], num_fewshot=shots, limit=limit, log_samples=True,
                                         bootstrap_iters=0 if config["output_type"] == "loglikelihood" else 1,  # only perplexity needs any
                                         task_manager=TaskManager(include_defaults=False), verbosity="ERROR")
    name = config["task"]
    return result["results"][name], result["samples"][name]


# ---- the comparison ----


def ask_coterie(coterie, model, path, folder, extra):
    answers = folder / "answers.jsonl"
    said = subprocess.run([coterie, "eval", model, "--task", path, "--json", "-q", "--answers", answers, *map(str, extra)], check=True, capture_output=True, text=True)
    return json.loads(said.stdout)["tasks"][0], [json.loads(line) for line in answers.read_text().splitlines()]


def near_ties(score, rows):
    """Questions whose best two alternatives f32 may put in either order."""
    by = {"acc": lambda a: (a["log_probability"], NATS), "acc_norm": lambda a: (a["log_probability"] / a["characters"], NATS / a["characters"]),
          "acc_bytes": lambda a: (a["log_probability"] / a["bytes"], NATS / a["bytes"]),
          "acc_mutual_info": lambda a: (a["log_probability"] - a.get("unconditional", 0), 2 * NATS)}[score]
    count = 0
    for row in rows:
        best, second = sorted(map(by, row["alternatives"]), reverse=True)[:2]
        count += best[0] - second[0] <= best[1] + second[1]
    return count


def compare(what, coterie, folder, model_path, model, path, kind, *, ours_from=None, shots=0, shots_from=None, limit=None, query_end="", delimiter=" ", description=""):
    config, metrics = lm_eval_task(path.name.split(".")[0], path, kind, shots_from=shots_from, query_end=query_end, delimiter=delimiter, description=description)
    theirs, samples = ask_lm_eval(model, config, shots, limit)
    extra = ["--target-delimiter", delimiter, "--query-end", query_end, "--description", description, "--shots", shots]
    extra += ["--shots-from", shots_from] * (shots_from is not None) + ["--limit", limit] * (limit is not None)
    ours, answers = ask_coterie(coterie, model_path, ours_from or path, folder, [e for e in extra])
    print(f"{what}: {ours['questions']} questions, {ours['cut']} longer than the window")
    samples.sort(key=lambda s: s["doc_id"])
    worst, greedy = 0.0, 0
    for row, sample in zip(answers, samples, strict=True):
        said = [(float(ll), g in (True, "True")) for ll, g in (r[0] for r in sample["resps"])]
        mine = [a["log_probability"] for a in row["alternatives"]] + [a["unconditional"] for a in row["alternatives"] if "unconditional" in a]
        assert len(mine) == len(said), (len(mine), len(said))
        worst = max(worst, *(abs(a - b[0]) for a, b in zip(mine, said)))
        greedy += row["greedy"] != said[row["gold"]][1]
    record("lm_eval", f"log probabilities of a task's requests, {what.split(',')[0]}", worst, NATS, "nats")
    check("log probability of every request", worst <= NATS, f": worst difference {worst:.1e} (limit {NATS:.0e})")
    check("what is greedy", greedy == 0, f": {greedy} differ")
    for metric in metrics:
        mine, their = ours["scores"][metric]["value"], theirs[f"{metric},none"]
        limit_ = {"brier_score": 4 * NATS, "perplexity": NATS * their}.get(metric)
        if limit_ is None:
            limit_ = 1e-12 + (near_ties(metric, answers) / len(answers) if kind != "completion" else 0)
        check(metric, abs(mine - their) <= limit_, f": {mine:.6f} {their:.6f}")
        error = theirs.get(f"{metric}_stderr,none")
        if metric.startswith("acc") and isinstance(error, float) and mine == their:
            check(f"standard error of {metric}", abs(ours["scores"][metric]["stderr"] - error) < 1e-12, f": {error:.6f}")


def train(coterie, folder, name, ffn):
    recipe = folder / f"{name}.yaml"
    recipe.write_text(f"""model:
  kind: lm
  hidden_size: 64
  num_layers: 2
  mixer: {{kind: attention, num_heads: 4, num_kv_heads: 2}}
  ffn: {ffn}
data: {{path: {ROOT}/data/demo, cache_dir: {folder}/cache, tokenizer: {{kind: bpe, vocab_size: 1024}}, context: {CONTEXT}}}
train: {{tokens: 1.5e5, batch: 16, precision: f32, optimizer: {{kind: muon, lr: 7e-3}}, seed: 1}}
""")
    subprocess.run([coterie, "train", recipe, "-q", "--out", folder / name], check=True, capture_output=True)
    return folder / name


def compare_model(name, coterie, folder, shared):
    path = train(coterie, folder, name, MODELS[name])
    loaded = AutoModelForCausalLM.from_pretrained(path, dtype="float32", experts_implementation="eager")
    model = HFLM(pretrained=loaded, tokenizer=AutoTokenizer.from_pretrained(path), batch_size=16, device="cpu")
    ask = lambda what, *rest, **more: compare(f"{name}, {what}", coterie, folder, path, model, *rest, **more)
    choices = write_rows(folder / "choices.jsonl", choice_rows(1, 120))
    ask("multiple choice", choices, "choices")
    ask("white space at the end of the question", write_rows(folder / "spaces.jsonl", choice_rows(2, 60, end="\nAnswer: ")), "choices")
    ask("two examples, description, end of question", choices, "choices", shots=2, query_end="\nAnswer:", description="Answer these.\n\n",
        shots_from=write_rows(folder / "shots.jsonl", choice_rows(3, 5)))
    ask("context choice", write_rows(folder / "contexts.jsonl", context_rows(4, 100)), "contexts")
    ask("minimal pairs", write_rows(folder / "pairs.jsonl", pair_rows(5, 150)), "pairs")
    ask("completions", write_rows(folder / "completions.jsonl", completion_rows(6, 150)), "completion")
    ask("completions that bring their space", write_rows(folder / "spaced.jsonl", completion_rows(7, 50, space=" ")), "completion", delimiter="")
    if not shared:
        return
    for file, kind in (("multiple_choice/arc_easy.jsonl", "choices"), ("multiple_choice/piqa.jsonl", "choices"), ("multiple_choice/winogrande.jsonl", "contexts"),
                       ("multiple_choice/boolq.jsonl.gz", "choices"), ("completion/lambada_openai.jsonl.gz", "completion")):
        ask(file, short_rows(shared / "data/eval" / file, folder), kind)
    evals = shared / "data/eval"
    blimp, mmlu, bbh = evals / "blimp/blimp.tar.gz", evals / "mmlu/mmlu.tar.gz", evals / "bbh/navigate.json"
    for file, kind, inside, rows in ((blimp, "pairs", "blimp/wh_island.jsonl", blimp_rows), (mmlu, "choices", "mmlu/test/anatomy_test.csv", mmlu_rows)):
        ask(inside, write_rows(folder / f"{pathlib.Path(inside).stem}.jsonl", rows(file, inside)), kind, ours_from=file / inside, limit=100)
    ask("bbh/navigate.json", write_rows(folder / "navigate.jsonl", bbh_rows(bbh)), "choices", ours_from=bbh, limit=100)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("coterie")
    parser.add_argument("--shared", default=os.environ.get("COTERIE_SHARED"))
    arguments = parser.parse_args()
    print(f"lm-eval {importlib.metadata.version('lm_eval')}, transformers {importlib.metadata.version('transformers')}\n")
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            compare_model(name, arguments.coterie, pathlib.Path(folder), pathlib.Path(arguments.shared) if arguments.shared else None)
    print("all agree" if not failures else f"{failures} checks failed")
    sys.exit(1 if failures else 0)


main()
