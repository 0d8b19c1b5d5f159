#!/usr/bin/env python3
"""Checks that every paper which the code or the documents name has an entry in docs/references.bib.

usage: check_references.py [SOURCE_DIR]      exit status 0 = all well, 1 = something is wrong

Papers are named by key, author-year-word: as [shazeer2017outrageously] in comments and documents, and as
"fedus2021switch, lepikhin2020gshard" in the `source` field of a family's member. Every entry must have an author, a
title, a year and a place to find it (a journal, a book of proceedings, an institution, an eprint or a web address), and
stand once; entries are sorted by key.
"""
import re
import sys
from pathlib import Path

KEY = r"[a-z]+(?:19|20)\d\d[a-z0-9]+"
BRACKETED = re.compile(r"\[(%s(?:, %s)*)\]" % (KEY, KEY))
QUOTED = re.compile(r'"(%s(?:, %s)*)"' % (KEY, KEY))
ENTRY = re.compile(r"^@\w+\{([^,]+),\n(.*?)^\}", re.M | re.S)
FIELD = re.compile(r"^\s*(\w+)\s*=", re.M)
PLACES = {"journal", "booktitle", "institution", "eprint", "howpublished"}
FOLDERS = ["include", "src", "apps", "examples", "docs", "recipes", "tests", "bench"]
SUFFIXES = {".c", ".h", ".def", ".md", ".yaml"}


def read_entries(path):
    """Keys in order, and complaints about entries."""
    keys, wrong = [], []
    for key, body in ENTRY.findall(path.read_text()):
        fields = {name.lower() for name in FIELD.findall(body)}
        lacking = {"author", "title", "year"} - fields
        if lacking or not fields & PLACES:
            wrong.append(f"{path.name}: {key} lacks {', '.join(sorted(lacking)) or 'a place to find it'}")
        if key in keys:
            wrong.append(f"{path.name}: {key} stands twice")
        keys.append(key)
    if keys != sorted(keys):
        wrong.append(f"{path.name}: entries are not sorted by key")
    return set(keys), wrong


def uses(root):
    """Yields (file, line number, key) of every mention."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SUFFIXES or not path.is_file():
                continue
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                for group in BRACKETED.findall(line) + QUOTED.findall(line):
                    for key in group.split(", "):
                        yield path.relative_to(root), number, key


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    known, wrong = read_entries(root / "docs" / "references.bib")
    used = set()
    for path, number, key in uses(root):
        used.add(key)
        if key not in known:
            wrong.append(f"{path}:{number}: [{key}] has no entry in docs/references.bib")
    wrong += [f"references.bib: nothing names {key}" for key in sorted(known - used)]
    if not used:
        wrong.append(f"{root}: nothing names a paper: is this the source folder?")
    print("\n".join(wrong) if wrong else f"{len(used)} papers are named, all have entries")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
