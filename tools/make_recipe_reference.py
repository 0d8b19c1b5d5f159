#!/usr/bin/env python3
"""Writes docs/recipes.md: what a recipe may say, from the option tables that the program itself reads.

usage: make_recipe_reference.py PROGRAM [--check] FILE

PROGRAM is build/coterie. With --check nothing is written; exit status 1 means that FILE is out of date. The text
between the tables stands below; all tables come from `coterie list --json`.
"""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

INTRO = """\
# Recipes

<!-- Made by tools/make_recipe_reference.py from the program's option tables: change a table, or the text there. -->

A recipe is a YAML file that says everything about a training run. `coterie train my.yaml` runs it, `--dry-run` tells
what it would cost, and the run's folder keeps a copy of it as it was run. It has three blocks:

```yaml
model:
  kind: lm
  hidden_size: 256
  num_layers: 6
  mixer: {kind: attention, num_heads: 4, num_kv_heads: 2}
  ffn: {kind: dense, intermediate_size: 1024}       # what every layer has,
  layers:                                           # and where layers differ; the last match wins
    - at: "1::2"                                    # from layer 1 on, every second
      ffn:
        kind: sparse
        router:   {kind: noisy_top_k, top_k: 2}
        experts:  {kind: ffn, num_experts: 16, intermediate_size: 512}
        balance:  [{kind: importance, coef: 0.1}, {kind: load, coef: 0.1}]
        capacity: {capacity_factor: 1.25, policy: position}
data:  {path: my-texts, tokenizer: {kind: bpe, vocab_size: 8192}, context: 256}
train: {tokens: 20e6, batch: 16, optimizer: {kind: adamw, lr: 1e-3}, schedule: {kind: cosine}, seed: 1}
```

- **Kinds.** Where things are interchangeable, a block names its `kind` and sets that kind's options. What is left out
  has its default; an option without a default is empty unless set. Whole numbers may be written `20e6`.
- **Mistakes** are answered with file, line, key, what was expected, and the nearest right name.
- **From the command line**, `--set train.optimizer.lr=2e-3` changes one value; places in lists go by number
  (`--set model.layers.0.at=2`), values are inline YAML (`--set 'model.ffn={kind: dense, intermediate_size: 512}'`).
- **Relative paths** are taken from the folder in which the program is started; what is not there is looked for among
  the files that come with Coterie (`data/demo`).
- **Layers.** `mixer` and `ffn` are what every layer has. An entry of `layers` has `at` (a number, or a slice such as
  `1::2`, `-2:`, `0:4`) and a `mixer`, an `ffn`, or both, which then stand in place of the model's.
- **Side by side.** A list under `ffn` (at most four) is run on the same input and added up:
  `ffn: [{kind: dense, intermediate_size: 512}, {kind: sparse, ...}]`. A shared expert is `shared` inside a sparse one.
- **Training a model on.** `coterie train --from MODEL my.yaml`, or `from: MODEL` at the top of the recipe, starts from
  the parameters of a model folder: one of our own runs, or any other that `coterie info` takes. Step counts, schedule and
  optimizer start anew; the folder is read only, and not needed any more once the run has begun.
  - *On the command line*, the folder's architecture and tokenizer take the place of the recipe's `model` and
    `data.tokenizer`, so that any recipe serves: it says on what is trained, and how.
  - *With `from` in the recipe*, what stands there counts as well: `data.tokenizer` in place of the folder's, and each key
    under `model` in place of the folder's (`model: {dropout: 0.1, layers: {0: {ffn: {balance: []}}}}` changes two things;
    a block of another `kind` replaces the whole block). `--set model...` does the same after `--from`.
  - The weights must fit what comes of it, tensor by tensor. The vocabulary is the folder's, and must hold the tokenizer's.
- **Freezing.** `train.freeze` picks parameters by patterns of their names (`*` and `?` as in the shell; a `!` in front lets
  go again of what it picks; the last that fits counts): `freeze: ['*', '!*.router.*']` trains routers only. What is frozen
  keeps its bits, has neither gradient nor optimizer state, and layers below the lowest trained one are not gone back
  through (with `recompute` they are). Rates and decay of their own come from `train.optimizer.groups`:
  `groups: [{match: '*.experts.*', lr_scale: 0.1}, {match: '*.router.*', lr_scale: 2, weight_decay: 0}]`.
  `coterie info --parameters MODEL` lists the names. Joined matrices (q, k and v; gate and up; all experts of a layer) are one
  parameter. FLOPs and the expected time are told as if nothing were frozen.
- The same inline form describes routers, balance rules and capacity to `coterie route` (the router lab), and whole
  feed-forwards to [`<coterie/sparse_layer.h>`](../include/coterie/sparse_layer.h).

Sources are keys of [references.bib](references.bib). `coterie list FAMILY NAME` shows any of these tables in the
terminal.
"""

# Families and sections in the order of a recipe: (family, member or None for all, heading, words before the tables).
PARTS = [
    ("sections", "recipe", "Blocks", "What a recipe is made of."),
    ("models", None, "`model`", "The architecture."),
    ("sections", "layers", "`model.layers`", "Entries of the list of layers that differ."),
    ("mixers", None, "`model.mixer`", "What moves information along the sequence."),
    ("sections", "rope_scaling", "`model.mixer.rope_scaling`",
     "Rotary positions beyond the trained length, in the words of published configurations."),
    ("feed_forwards", None, "`model.ffn`", "What stands after the mixer in every layer."),
    ("routers", None, "`ffn.router`", "Who decides which token goes to which expert."),
    ("experts", None, "`ffn.experts`", "Who does the work."),
    ("balance", None, "`ffn.balance`",
     "At most eight rules, each a loss times its `coef`; their sum over all layers is added to the objective."),
    ("sections", "capacity", "`ffn.capacity`",
     "How many tokens an expert takes. Without this block nothing is ever dropped."),
    ("sections", "shared", "`ffn.shared`", "An expert beside the pool that sees every token."),
    ("data", None, "`data`", "What is trained on; `kind` may be left out: it is `text` then."),
    ("sections", "tokenizer", "`data.tokenizer`",
     "Byte-level BPE: `{kind: bpe, vocab_size: 8192}` trains one on the training text and keeps it in the cache;\n"
     "`{path: ...}`, or a path alone, reads one. Without this block: trained, with the default size."),
    ("sections", "train", "`train`", "How long, how fast and how precisely."),
    ("optimizers", None, "`train.optimizer`", "How gradients become steps."),
    ("sections", "groups", "`train.optimizer.groups`",
     "Entries of the list `groups` of any optimizer; the last one whose `match` fits a parameter's name counts."),
    ("schedules", None, "`train.schedule`", "How the learning rate moves over a run."),
    ("objectives", None, "`train.objective`", "What is minimised; may be left out."),
]


def cell(value):
    if value is None or value == "":
        return ""
    text = json.dumps(value) if not isinstance(value, str) else value
    return "`%s`" % text


def prose(text):
    """Help as Markdown: in a table's cell, nothing in it is a sign."""
    return re.sub(r"([|*<])", r"\\\1", text)


def sentence(text):
    return prose(text[0].upper() + text[1:]) + "."


def table(options):
    if not options:
        return "Nothing can be set in it.\n"
    rows = ["| option | default | allowed | meaning |", "|---|---|---|---|"]
    for option in options:
        rows.append("| `%s` | %s | %s | %s |" % (option["name"], cell(option["default"]), prose(option["allowed"]),
                                                prose(option["help"])))
    return "\n".join(rows) + "\n"


def source(member):
    return " [%s]" % member["source"] if member["source"] else ""


def part(families, family, name, heading, words):
    members = [m for m in families[family]["members"] if name in (None, m["name"])]
    text = ["## %s\n\n%s\n" % (heading, words)]
    for member in members:
        if families[family]["has_kinds"]:
            text.append("### `kind: %s`\n\n%s%s\n" % (member["name"], sentence(member["summary"]), source(member)))
        elif member["source"]:
            text.append(source(member).strip() + "\n")
        text.append(table(member["options"]))
    return "\n".join(text)


def recipes(listed):
    rows = ["## Recipes that come with the program\n", "| recipe | what it is |", "|---|---|"]
    rows += ["| [%s](../recipes/%s.yaml) | %s |" % (r["name"], r["name"], prose(r["summary"])) for r in listed]
    return "\n".join(rows) + "\n"


def reference(program):
    environment = {key: value for key, value in os.environ.items() if key != "COTERIE_RECIPES"}
    everything = json.loads(subprocess.check_output([program, "list", "--json"], env=environment))
    families = {family["name"]: family for family in everything["families"]}
    shown = {(family, member) for family, member, *_ in PARTS}
    for family in families.values():
        for member in family["members"]:
            if (family["name"], None) not in shown and (family["name"], member["name"]) not in shown:
                sys.exit("PARTS has no place for %s %s" % (family["name"], member["name"]))
    return "\n".join([INTRO] + [part(families, *entry) for entry in PARTS] + [recipes(everything["recipes"])])


def main():
    words = [word for word in sys.argv[1:] if word != "--check"]
    if len(words) != 2:
        sys.exit(__doc__)
    program, path = words[0], Path(words[1])
    text = reference(program)
    if "--check" not in sys.argv[1:]:
        path.write_text(text)
    elif not path.exists() or path.read_text() != text:
        print("%s is out of date; make it anew: %s %s %s" % (path, sys.argv[0], program, path))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
