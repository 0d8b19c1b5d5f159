#!/usr/bin/env python3
"""Writes docs/routers.md and docs/balance.md from what the files of both families say about themselves.

    make_family_pages.py SOURCE_DIR [--check]     --check: fails when a page is out of date, and writes nothing

A page has a line for each member (name, summary, papers) and the comment that opens each file, word for word. Options, their
defaults and ranges stand in docs/recipes.md.
"""
import re
import sys
from pathlib import Path

PAGES = {
    "routers": ("Routers", "Who decides which token goes to which expert. `coterie route` shows what each makes of a matrix of logits, "
                           "`coterie list routers NAME` its options (also in [recipes.md](recipes.md)); [how-to-add-a-router.md]"
                           "(how-to-add-a-router.md) adds one."),
    "balance": ("Balance rules", "What keeps the pool evenly used. `coterie list balance NAME` shows a rule's options (also in "
                                 "[recipes.md](recipes.md))."),
}
MEMBER = re.compile(r'\.member = \{"([^"]+)",\s*(?:"([^"]*)"|NULL),\s*((?:"[^"]*"\s*)+)')


def essay(text):
    """The opening comment, in a block that keeps its lines."""
    comment = re.match(r"/\*(.*?)\*/", text, re.S).group(1)
    lines = [re.sub(r"^ ?\* ?", "", line).rstrip() for line in comment.strip().split("\n")]
    return "```text\n%s\n```\n" % "\n".join(lines).strip()


def page(source, family):
    title, lead = PAGES[family]
    order = re.findall(r"\((\w+)\)", (source / "src" / family / (family + ".def")).read_text())
    files = []
    for path in (source / "src" / family).glob("*.c"):
        text = path.read_text()
        members = [(name, papers, "".join(re.findall(r'"([^"]*)"', summary))) for name, papers, summary in MEMBER.findall(text)]
        if members:
            files.append((min(order.index(m[0]) for m in members if m[0] in order), path.name, members, essay(text)))
    files.sort()
    out = ["# %s" % title, "", "Made by `tools/make_family_pages.py` from `src/%s/`. %s" % (family, lead), "", "| kind | what it does | paper |", "|---|---|---|"]
    for _, _, members, _ in files:
        for name, papers, summary in members:
            out.append("| `%s` | %s | %s |" % (name, summary, "[%s]" % papers if papers else ""))
    for _, name, members, text in files:
        out += ["", "## %s" % ", ".join("`%s`" % m[0] for m in members), "", "`src/%s/%s`" % (family, name), "", text.rstrip()]
    return "\n".join(out) + "\n"


def main():
    source, stale = Path(sys.argv[1]), []
    for family in PAGES:
        path, text = source / "docs" / (family + ".md"), page(source, family)
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        raise SystemExit("out of date: %s; run tools/make_family_pages.py" % ", ".join(stale))


if __name__ == "__main__":
    main()
