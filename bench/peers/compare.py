"""The bench cases in turn: ours, PyTorch eager, PyTorch compiled. Prints tokens/s, peak memory and our ratio to each, and the targets.

    compare.py COTERIE PYTHON [CASE...]
"""
import glob, json, os, pathlib, subprocess, sys

CASES = [("dense", "f32", 1.6, 1.35), ("dense", "bf16", 1.9, 1.35), ("moe", "f32", 1.9, 1.4), ("moe", "bf16", 3.0, 1.8),
         ("small-dense", "f32", 2.0, 1.5), ("small-moe", "f32", 4.2, 2.2)]
HERE = pathlib.Path(__file__).parent


def ours(coterie, case, dtype):
    said = json.loads(subprocess.run([coterie, "bench", case, "--dtype", dtype, "--json"], check=True, capture_output=True, text=True).stdout)
    return said["cases"][0]


def theirs(python, case, dtype, compiled):
    environment = dict(os.environ)
    if compiled:
        found = glob.glob("/usr/lib/*/libtcmalloc_minimal.so.4")
        if found:
            environment["LD_PRELOAD"] = found[0]
    steps = "40" if case.startswith("small") else "6"
    done = subprocess.run([python, HERE / "train_torch.py", case, "--dtype", dtype, "--steps", steps] + ["--compile"] * compiled, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(done.stderr[-600:], file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def ratio(a, b):
    return f"{a / b:5.2f}x" if b else "     -"


def main():
    coterie, python, wanted = sys.argv[1], sys.argv[2], sys.argv[3:]
    print(f"{'case':<17}{'ours':>9}{'of peak':>9}{'GiB':>6} | {'eager':>9}{'GiB':>6}{'ratio':>8}{'target':>8} | {'compiled':>9}{'GiB':>6}{'ratio':>8}{'target':>8}")
    for case, dtype, eager_target, compiled_target in CASES:
        if wanted and case not in wanted:
            continue
        mine, eager, compiled = ours(coterie, case, dtype), theirs(python, case, dtype, False), theirs(python, case, dtype, True)
        rate = mine["tokens_per_s"]
        row = f"{case + ' ' + dtype:<17}{rate:9.0f}{100 * mine['fraction_of_peak']:8.1f}%{mine['peak_rss_bytes'] / 2**30:6.2f} | "
        for other, target in ((eager, eager_target), (compiled, compiled_target)):
            row += f"{other['tokens_per_s']:9}{other['rss_gb']:6.2f}{ratio(rate, other['tokens_per_s']):>8}{target:7.2f}x | " if other else f"{'failed':>9}{'':>22} | "
        print(row, flush=True)


main()
