"""The bench cases beside the same work in PyTorch: ours, eager, compiled (tcmalloc preloaded), in turn.

Prints tokens a second and peak memory of each, our ratios, and what they are meant to be: a ratio of speed at least as
large as its target, memory at most 0.70 of compiled PyTorch's. With several rounds, medians of the rounds.
"""
import argparse
import glob
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TARGETS = {  # case, dtype: times PyTorch eager, times PyTorch compiled
    ("dense", "f32"): (1.6, 1.35),
    ("dense", "bf16"): (1.9, 1.35),
    ("moe", "f32"): (1.9, 1.4),
    ("moe", "bf16"): (3.0, 1.8),
    ("peer", "f32"): (3.0, 1.6),
    ("peer", "bf16"): (4.5, 1.7),
    ("small-dense", "f32"): (2.0, 1.5),
    ("small-moe", "f32"): (4.2, 2.2),
}
MEMORY = {("dense", "f32"): 0.7, ("moe", "f32"): 0.7, ("moe", "bf16"): 0.7}  # of compiled PyTorch's
ENGINES = "ours", "eager", "compiled"


def last_json(command, environment=None):
    done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout[done.stdout.index("{"):])


def tcmalloc():
    folders = "/usr/lib/*", "/usr/lib64", "/usr/lib", "/usr/local/lib"
    names = "libtcmalloc.so.4", "libtcmalloc_minimal.so.4"
    found = [path for name in names for folder in folders for path in glob.glob(f"{folder}/{name}")]
    if not found:
        sys.exit("libtcmalloc is not installed (Debian: libtcmalloc-minimal4), and compiled PyTorch is slow without it")
    return found[0]


def measure(a, machine, engine, case, dtype):
    if engine == "ours":
        return last_json([a.coterie, "bench", case, "--dtype", dtype, "--json"])["cases"][0]
    steps = 60 if case.startswith("small") else 6
    command = [sys.executable, HERE / "train_torch.py", case, "--dtype", dtype, "--steps", steps]
    command += ["--threads", machine["threads"]]
    if engine == "eager":
        return last_json(command)
    return last_json(command + ["--compile"], dict(os.environ, LD_PRELOAD=tcmalloc()))


def middle(rounds):
    """The medians of what was measured in several rounds."""
    keys = "tokens_per_s", "step_ms", "peak_rss_bytes", "fraction_of_peak"
    return {key: statistics.median(r[key] for r in rounds) for key in keys if key in rounds[0]}


def compare(a, machine, case, dtype):
    rounds = {engine: [] for engine in ENGINES}
    for i in range(a.rounds):
        for engine in ENGINES:
            print(f"\r\033[K{case} {dtype}, round {i + 1}: {engine}", end="", file=sys.stderr, flush=True)
            rounds[engine].append(measure(a, machine, engine, case, dtype))
    print("\r\033[K", end="", file=sys.stderr, flush=True)
    row = {"name": case, "dtype": dtype} | {engine: middle(rounds[engine]) for engine in ENGINES}
    eager, compiled = (row["ours"]["tokens_per_s"] / row[engine]["tokens_per_s"] for engine in ENGINES[1:])
    memory = row["ours"]["peak_rss_bytes"] / row["compiled"]["peak_rss_bytes"]
    return row | {"times_eager": eager, "times_compiled": compiled, "memory_of_compiled": memory,
                  "targets": dict(zip(("times_eager", "times_compiled"), TARGETS[case, dtype]))
                  | ({"memory_of_compiled": MEMORY[case, dtype]} if (case, dtype) in MEMORY else {})}


HEADER = ("case               |   ours  of peak   GiB |  eager   GiB  ratio  target | compiled  GiB  ratio  target |"
          " memory  target")


def line(row):
    def engine(name, width):
        return f"{row[name]['tokens_per_s']:{width}.0f}"

    def memory(name):
        return f"{row[name]['peak_rss_bytes'] / 2**30:6.2f}"

    def ratio(key):
        target = row["targets"].get(key)
        if target is None:
            return f"{row[key]:6.2f}{'':8}"
        reached = row[key] <= target if key == "memory_of_compiled" else row[key] >= target
        return f"{row[key]:6.2f}{' ' if reached else '*'}{target:7.2f}"

    return (f"{row['name'] + ' ' + row['dtype']:19}|{engine('ours', 7)}{100 * row['ours']['fraction_of_peak']:8.1f}%"
            f"{memory('ours')} |{engine('eager', 7)}{memory('eager')}{ratio('times_eager')} |"
            f"{engine('compiled', 8)}{memory('compiled')}{ratio('times_compiled')} | {ratio('memory_of_compiled')}")


def main():
    names = list(dict.fromkeys(case for case, _ in TARGETS))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(names)}; all of them by default")
    parser.add_argument("--coterie", required=True, help="the program")
    parser.add_argument("--dtype", choices=("all", "f32", "bf16"), default="all")
    parser.add_argument("--rounds", type=int, default=1, help="how often each is measured, in turn")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    if unknown := set(a.cases) - set(names):
        parser.error(f"unknown case {', '.join(unknown)}; there are {', '.join(names)}")
    machine, rows = last_json([a.coterie, "bench", "--machine", "--json"])["machine"], []
    if not a.json:
        print(f"{machine['cpu']}, {machine['threads']} threads, products {machine['f32_flops'] / 1e9:.0f} GFLOP/s f32, "
              f"{machine['bf16_flops'] / 1e9:.0f} bf16; tokens a second, * misses its target")
        print(f"{HEADER}\n{'-' * len(HEADER)}", flush=True)
    dtypes = ["f32", "bf16"] if machine["bf16_flops"] else ["f32"]
    for case, dtype in TARGETS:
        if (a.cases and case not in a.cases) or dtype not in dtypes or a.dtype not in ("all", dtype):
            continue
        rows.append(compare(a, machine, case, dtype))
        if not a.json:
            print(line(rows[-1]), flush=True)
    if a.json:
        print(json.dumps({"machine": machine, "cases": rows}, indent=2))


if __name__ == "__main__":
    main()
