#!/usr/bin/env python3
"""Writes the tables of docs/formats.md that come from the program's own: who has a place for what, names of tensors, keys.

usage: make_format_tables.py PROGRAM [--check] FILE

PROGRAM is build/coterie. Each table stands between `<!-- table: NAME -->` and `<!-- end -->`; with --check nothing is
written, and exit status 1 means that FILE is out of date. All of it comes from `coterie list formats --json`.
"""
import json
import re
import subprocess
import sys
from pathlib import Path

MARKS = {"always": "always", "may": "may", "never": ""}


def table(heading, rows):
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def code(text):
    return f"`{text}`" if text else ""


def traits(root):
    formats = root["formats"]
    rows = [[text] + [MARKS[f["rules"][i]] for f in formats] for i, text in enumerate(root["traits"])]
    return table(["a model has"] + [code(f["model_type"]) for f in formats], rows)


def joined_names(names):
    """a.x.w, a.y.w -> a.{x,y}.w"""
    parts = [name.split(".") for name in names]
    if len(names) == 1:
        return names[0]
    assert len({len(p) for p in parts}) == 1
    return ".".join(p[0] if len(set(p)) == 1 else "{" + ",".join(p) + "}" for p in zip(*parts))


def plain(name):
    return name.replace("{i}", "N").replace("{e}", "E")


def tensors(root):
    """For each of our names, the published ones and the families that use them."""
    rows, order = {}, []
    for f in root["formats"]:
        for kind in ("tensors", "joined"):
            names = {}
            for row in f[kind]:
                names.setdefault(row["ours"], []).append(plain(row["published"]))
            for ours, published in names.items():
                text = joined_names(published)
                if f["model_type"] in rows.get(ours, {}).get(text, ()):  # its name as it is
                    continue
                if ours not in rows:
                    order.append(ours)
                families = rows.setdefault(ours, {}).setdefault(text, [])
                families.append(f["model_type"] + (" (joined)" if kind == "joined" else ""))
    everyone = [f["model_type"] for f in root["formats"]]
    out = []
    for ours in order:
        for text, families in rows[ours].items():
            out.append([code(plain(ours)), code(text), "all" if families == everyone else ", ".join(families)])
    return table(["ours", "in files", "of"], out)


def number(value):
    return "" if value is None else str(value).lower() if isinstance(value, bool) else f"{value:g}" if value < 1e-3 else f"{value:.12g}"


def keys(root):
    rows, order = {}, []
    for f in root["formats"]:
        for key in f["keys"]:
            name = (key["key"], key.get("also") or "", key.get("field") or f"only {key.get('only')}")
            if name not in rows:
                order.append(name)
            absent = number(key.get("absent"))
            rows.setdefault(name, []).append(f["model_type"] + (f" ({absent})" if absent else ""))
    out = [[code(k) + (f" or {code(also)}" if also else ""), what, ", ".join(rows[k, also, what])] for k, also, what in order]
    return table(["key", "what it says", "in (and what counts when it is absent)"], out)


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    program, path = arguments[0], Path(arguments[1])
    root = json.loads(subprocess.run([program, "list", "formats", "--json"], check=True, capture_output=True, text=True).stdout)
    made = {"traits": traits(root), "tensors": tensors(root), "keys": keys(root)}
    old = path.read_text()
    new = old
    for name, text in made.items():
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        new, count = re.subn(pattern, lambda m: m[1] + text + m[2], new, flags=re.S)
        if count != 1:
            sys.exit(f"{path}: expected one place for the table '{name}', found {count}")
    if "--check" not in sys.argv:
        path.write_text(new)
    elif new != old:
        sys.exit(f"{path} is out of date: run tools/make_format_tables.py {program} {path}")


main()
