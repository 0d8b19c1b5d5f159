#!/usr/bin/env bash
# coterie eval --task: every kind of task, scores against an oracle of their own, tables, JSON, answers, and what is refused.
set -eu
source "$2/tests/cli/helpers.bash"
make_corpus
expect 0 train tiny.yaml -q --out run
python3 - <<'PYTHON'
import json, random
random.seed(1)
words = "the old sailor sang to a grey sea and mountains answered slowly été 東京 int x = 0".split()
text = lambda n: " ".join(random.choices(words, k=n))
def write(name, rows):
    with open(name, "w", encoding="utf-8") as f:
        for row in rows: f.write(json.dumps(row, ensure_ascii=name == "pairs.jsonl") + "\n")
write("choices.jsonl", ({"query": text(2), "choices": [text(1 + i % 2) for i in range(2 + n % 3)], "gold": n % 2} for n in range(40)))
write("contexts.jsonl", ({"context_options": [text(2), text(3)], "continuation": text(2), "gold": n % 2} for n in range(20)))
write("pairs.jsonl", ({"sentence_good": text(3), "sentence_bad": text(3)} for n in range(20)))
write("completion.jsonl", ({"context": text(3), "continuation": text(1)} for n in range(20)))
PYTHON

for task in choices contexts pairs completion; do
    expect 0 eval run --task $task.jsonl --json --answers answers.jsonl
    [ ! -s err ] || fail "--json speaks on stderr"
    python3 "$2/tests/peers/task_oracle.py" $task.jsonl answers.jsonl out || fail "$task: scores differ from the oracle's"
    cmp <(python3 -c 'import json; print(json.load(open("out"))["tasks"][0])') <(python3 -c "import json; print(json.load(open('run/task-$task.json')))") ||
        fail "task-$task.json is not what was printed"
done
cp out first
expect 0 eval run --task completion.jsonl --json --threads 2
cmp out first || fail "the number of threads shows"

# ---- published forms, and archives of them ----

python3 - <<'PYTHON'
import io, tarfile
files = {"mmlu/test/a_test.csv": '"Who?\nHe?",x,"y, z",A\nWhy?,no,yes,B\n' * 3, "mmlu/dev/a_dev.csv": "When?,now,then,A\n" * 3,
         "mmlu/test/b_test.csv": "How?,so,not,A\n" * 3, "mmlu/README.txt": "words"}
with tarfile.open("mmlu.tar.gz", "w:gz") as archive:
    for name, text in files.items():
        member = tarfile.TarInfo(name)
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
PYTHON
expect 0 eval run --task mmlu.tar.gz/mmlu/test --task pairs.jsonl
grep -q '^a_test  *multiple choice  *6 ' out || fail 'a_test is missing'
grep -q '^b_test  *multiple choice  *3 ' out || fail 'b_test is missing'
out_has 'mean of tasks'
expect 0 eval run --task mmlu.tar.gz/mmlu/test/a_test.csv --shots 1 --shots-from mmlu.tar.gz/mmlu/dev/a_dev.csv --limit 1 --json --answers answers.jsonl
python3 - <<'PYTHON'
import json
answer = json.loads(open("answers.jsonl", encoding="utf-8").read())
assert answer["context"] == "When?\nA. now\nB. then\nAnswer: A\n\nWho?\nHe?\nA. x\nB. y, z\nAnswer:", answer
assert [a["continuation"] for a in answer["alternatives"]] == [" A", " B"]
PYTHON
refuses 'mmlu.tar.gz: no task file in it under mmlu/val' eval run --task mmlu.tar.gz/mmlu/val
refuses 'mmlu.tar.gz/mmlu/test: 2 task files, expected one of them' eval run --task pairs.jsonl --shots 1 --shots-from mmlu.tar.gz/mmlu/test

# ---- options ----

cp run/task-choices.json kept
expect 0 eval run --task choices.jsonl --shots 2 --seed 4 --query-end '\nAnswer:' --description 'Choose.\n' --limit 7 --bins 3 --json --answers answers.jsonl
python3 "$2/tests/peers/task_oracle.py" choices.jsonl answers.jsonl out || fail "scores differ from the oracle's"
cmp run/task-choices.json kept || fail "a part of a task was kept"
cp answers.jsonl seed4
python3 - <<'PYTHON'
import json
rows = [json.loads(line) for line in open("choices.jsonl", encoding="utf-8")]
solved = {r["query"] + "\nAnswer: " + r["choices"][r["gold"]] for r in rows}
for row, answer in zip(rows, map(json.loads, open("answers.jsonl", encoding="utf-8"))):
    context = answer["context"]
    assert context.startswith("Choose.\n") and context.endswith(row["query"] + "\nAnswer:"), context
    first, second, question = context.removeprefix("Choose.\n").split("\n\n")
    assert first in solved and second in solved and first != second
    assert answer["cut"]  # 16 tokens are fewer than two examples
PYTHON
expect 0 eval run --task choices.jsonl --shots 2 --seed 5 --query-end '\nAnswer:' --limit 7 --answers answers.jsonl
! cmp -s answers.jsonl seed4 || fail "another seed draws the same examples"
expect 0 eval run --task choices.jsonl --shots 1 --shots-from choices.jsonl --target-delimiter '\t' --fewshot-delimiter '|' --window 12 --limit 1 --answers answers.jsonl
python3 -c 'import json; r = json.loads(open("choices.jsonl").readline()); a = json.loads(open("answers.jsonl").readline())
assert a["context"] == r["query"] + "\t" + r["choices"][0] + "|" + r["query"] and a["cut"] and a["alternatives"][1]["continuation"] == "\t" + r["choices"][1], a'

# ---- tables ----

expect 0 eval run --task choices.jsonl
for text in "choices: multiple choice, 40 questions, 0 shots, window 16; guessing gives" "acc_mutual_info" "stderr" "ties" "bits_per_byte" \
    "calibration of the chosen answer: ECE" "10 bins of equal width" "confidence"; do out_has "$text"; done
expect 0 eval run --task choices.jsonl --task completion.jsonl --task pairs.jsonl
for text in "acc_norm" "guessing" "choices " "minimal pairs" "mean of tasks"; do out_has "$text"; done
expect 0 eval run --task choices.jsonl --task pairs.jsonl --json
python3 -c 'import json; assert [t["task"] for t in json.load(open("out"))["tasks"]] == ["choices", "pairs"]'

# ---- what is refused ----

echo '{"query": "q", "choices": ["a", "b"], "gold": 2}' >bad.jsonl
refuses "bad.jsonl:1: 'gold' is 2, expected 0 to 1" eval run --task bad.jsonl
refuses "cannot read 'absent.jsonl'" eval run --task absent.jsonl
refuses "choices.jsonl has only 39 other questions" eval run --task choices.jsonl --shots 40
refuses "pairs.jsonl: examples of another kind" eval run --task choices.jsonl --shots 1 --shots-from pairs.jsonl
refuses "a window of 17 tokens, expected 1 to 16, the model's context" eval run --task choices.jsonl --window 17
refuses "choices.jsonl:1: a continuation of" eval run --task choices.jsonl --window 1
refuses "absent/answers.jsonl" eval run --task choices.jsonl --answers absent/answers.jsonl
expect 2 eval run --task choices.jsonl --task pairs.jsonl --answers answers.jsonl
err_has "--answers keeps one task's"
expect 2 eval run --shots 3
err_has "--shots goes with --task"
echo "tasks are scored and refused as they should be"
