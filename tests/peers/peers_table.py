"""The table of peers: what was compared with whom, and how far apart they were at most.

A check calls `record(...)` for each thing that it compares. `tools/peers.sh check` collects that in the file $PEERS_SEEN and then runs

    peers_table.py SEEN.jsonl docs/peers.md

which writes the table. Lines with the same peer and text become one, with the largest difference.
"""
import importlib.metadata, json, os, pathlib, sys

HEAD = """# Peers

What the checks of `make check-peers` compare Coterie with, and the largest difference that they saw; `make check-peers` writes this page anew when all of
them pass. The checks and the reasons for their limits are in [tests/peers/](../tests/peers).

| peer | version | what is compared | largest difference | allowed |
|---|---|---|---|---|
"""


def record(package, what, difference, limit, unit=""):
    """Notes a comparison with an installed package. `difference` and `limit` are numbers in `unit`; a limit of 0 means equality."""
    path = os.environ.get("PEERS_SEEN")
    if not path:
        return
    entry = {"peer": package, "version": importlib.metadata.version(package), "what": what, "difference": float(difference), "limit": limit, "unit": unit}
    with open(path, "a") as f:
        f.write(json.dumps(entry) + "\n")


def number(value, unit):
    if unit == "%":
        return f"{value:.2g} %"
    text = "0" if value == 0 else f"{value:g}" if float(value).is_integer() else f"{value:.1e}"
    return f"{text} {unit}".rstrip()


def rows(entries):
    table = {}
    for e in entries:
        key = e["peer"], e["what"]
        kept = table.setdefault(key, e)
        if e["difference"] > kept["difference"]:
            table[key] = e
    for e in sorted(table.values(), key=lambda e: e["peer"].lower()):
        limit = "none" if e["limit"] == 0 else number(e["limit"], e["unit"])
        yield f"| {e['peer']} | {e['version']} | {e['what']} | {number(e['difference'], e['unit'])} | {limit} |\n"


def main():
    entries = [json.loads(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
    pathlib.Path(sys.argv[2]).write_text(HEAD + "".join(rows(entries)))


if __name__ == "__main__":
    main()
