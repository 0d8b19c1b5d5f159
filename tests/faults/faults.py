#!/usr/bin/env python3
"""A tiny training run under everything that can go wrong with its files, its process, its clock and its memory.

usage: faults.py PROGRAM SHIM [--long]

PROGRAM is the coterie binary, SHIM the library made from fault_shim.c. After each mishap the run goes on with --resume (or is started
again where nothing had been written yet), on one thread and on two in turn, until it is done; then its folder must hold the same
files, byte for byte, as that of a run that nothing happened to: metrics.jsonl with every step once (its tokens_per_s aside), no
leftovers. The short form takes a few mishaps of each kind; --long takes each of them, and kills a run 100 times at random moments.
"""
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = """\
model:
  kind: lm
  hidden_size: 16
  num_layers: 2
  dropout: 0.1
  mixer: {kind: attention, num_heads: 2}
  ffn: {kind: dense, intermediate_size: 24}
  layers:
    - at: 1
      ffn:
        kind: sparse
        router: {kind: noisy_top_k, top_k: 2}
        experts: {kind: ffn, num_experts: 4, intermediate_size: 12}
        balance: [{kind: aux, coef: 0.01}]
data: {path: texts, cache_dir: cache, tokenizer: {kind: bpe, vocab_size: 300}, context: 16}
train: {steps: 8, batch: 8, precision: f32, optimizer: {kind: adamw, lr: 1e-2}, eval_every: 4, save_every: 2, keep_every: 6, seed: 3}
"""
# Over it: a layer of 16384 single neurons, whose rows and moments (3 MB) are nearly all of a checkpoint.
ROWS = "model.layers.0.ffn={kind: sparse, router: {kind: product_key, heads: 2, top_k: 4, query_dim: 8}, experts: {kind: neuron, num_experts: 16384, storage: bf16}}"
WORDS = "the old sailor sang to a grey sea and mountains answered slowly".split()
SPEED = re.compile(rb'"tokens_per_s":[^,]*,')

program, shim = [str(Path(word).resolve()) for word in sys.argv[1:3]]
long_form = "--long" in sys.argv[3:]
chance = random.Random(1)


def fail(message):
    sys.exit("FAILED: " + message)


def environment(fault):
    env = dict(os.environ, OMP_WAIT_POLICY="passive")
    env.pop("OMP_NUM_THREADS", None)
    if fault:
        env.update(LD_PRELOAD=shim, COTERIE_FAULT=fault, COTERIE_FAULT_LOG="calls")
    return env


def begin(words, fault=None, memory=None):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    return subprocess.Popen([program, "train", "-q"] + words, env=environment(fault), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, preexec_fn=limit if memory else None, text=True)


def end(process):
    err = process.communicate()[1]
    return process.returncode, err


def train(words, fault=None, memory=None):
    return end(begin(words, fault, memory))


def check_line(what, code, err):
    """An error is one line, and the exit code is 1."""
    if code != 1 or err.count("\n") != 1 or not err.startswith("coterie: "):
        fail("%s: exit code %s, stderr:\n%s" % (what, code, err))


def contents(folder):
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            files[str(path.relative_to(folder))] = SPEED.sub(b"", data) if path.name == "metrics.jsonl" else data
    return files


def check_same(what, folder, whole):
    got, want = contents(Path(folder)), contents(Path(whole))
    if got.keys() != want.keys():
        fail("%s: %s instead of %s" % (what, sorted(got), sorted(want)))
    for name in got:
        if got[name] != want[name]:
            fail("%s: %s is not that of a run that nothing happened to" % (what, name))
    steps = [line["step"] for line in map(json.loads, got["metrics.jsonl"].splitlines()) if "valid" not in line]
    if steps != list(range(1, steps[-1] + 1)):
        fail("%s: the steps in metrics.jsonl are %s" % (what, steps))


def check_checkpoint(what, folder):
    """What trainer.json names is there, whatever happened."""
    position = folder / "trainer.json"
    if position.exists() and not (folder / json.loads(position.read_text())["state"]).exists():
        fail("%s: trainer.json names a state that is not there" % what)


def go_on(what, folder, threads, words=("run.yaml",)):
    """To the end, by --resume where there is a run, else from the start."""
    if (folder / "recipe.yaml").exists():
        check_checkpoint(what, folder)
        code, err = train(["--resume", str(folder), "--threads", str(threads)])
    else:
        code, err = train([*words, "--out", str(folder), "--threads", str(threads)])
    if code != 0:
        fail("%s: it cannot go on: %s" % (what, err))


# ---- mishaps at the n-th call that changes a file ----

def mishap(fault, words, whole, number):
    folder = Path("run-%d" % number)
    code, err = train([*words, "--out", str(folder)], fault)
    if fault.startswith(("die", "tear")):
        if code != -signal.SIGKILL:
            fail("%s: exit code %s: %s" % (fault, code, err))
    elif code != 0:  # some failures harm nothing: an old state that cannot be removed
        check_line(fault, code, err)
    go_on(fault, folder, 1 + number % 2, words)
    check_same(fault, folder, whole)
    shutil.rmtree(folder)


def count_calls(words):
    shutil.rmtree("counted", ignore_errors=True)
    Path("calls").unlink(missing_ok=True)
    code, err = train([*words, "--out", "counted"], "none:0")
    if code != 0:
        fail("under the shim: " + err)
    return len(Path("calls").read_text().splitlines())


def all_mishaps(words, whole, kinds, cache=None):
    """`cache` is a folder to make anew each time; only the calls up to the first step count then."""
    shutil.rmtree(cache or "none", ignore_errors=True)
    count = count_calls(words)
    if count < 50:
        fail("the shim sees %d calls only" % count)
    if cache:
        count, filled = 35, contents(Path(cache)).keys()
    for number, kind in enumerate(kinds):
        points = range(1, count + 1) if long_form else sorted(chance.sample(range(1, count + 1), 2))
        for point in points:
            shutil.rmtree(cache or "none", ignore_errors=True)
            mishap("%s:%d" % (kind, point), words, whole, point + number)
            if cache and not contents(Path(cache)).keys() <= filled:
                fail("%s:%d: leftovers in the cache: %s" % (kind, point, sorted(contents(Path(cache)))))
        print("%s, %s: the same after a mishap at %s of %d calls" % (whole, kind, "each" if long_form else "call " + ", ".join(map(str, points)), count), flush=True)


def mishaps(whole):
    all_mishaps(["run.yaml"], whole, ["tear", "die", "full", "fail"])
    words = ["run.yaml", "--from", "whole", "--set", "train.steps=3", "--set", "train.freeze=['layers.0.*']"]
    if train([*words, "--out", "continued"])[0] != 0:
        fail("the run that goes on from a model does not run")
    all_mishaps(words, "continued", ["tear", "fail"])
    words = ["run.yaml", "--set", "data.cache_dir=cold", "--set", "train.steps=3"]
    if train([*words, "--out", "begun"])[0] != 0:
        fail("the run with a cache of its own does not run")
    all_mishaps(words, "begun", ["tear", "fail"], cache="cold")


def million(whole):
    """Killed in the middle of the large write of a second checkpoint, and after it but before trainer.json names it: the run
    goes on from the first one."""
    words = ["run.yaml", "--set", ROWS, "--set", "train.steps=6", "--set", "train.eval_every=0", "--set", "train.keep_every=0"]
    if train([*words, "--out", "rows"])[0] != 0:
        fail("the run with many rows does not run")
    count_calls(words)
    calls = [line.split(" ", 2) for line in Path("calls").read_text().splitlines()]
    writes = [int(number) for number, what, path in calls if what == "write" and "state-4" in path]
    flushed = [int(number) for number, what, path in calls if what == "rename" and path.endswith("state-4.safetensors")]
    for number, (fault, point) in enumerate([("tear", writes[0]), ("tear", writes[len(writes) // 2]), ("tear", writes[-1]), ("die", flushed[0]), ("tear", flushed[0])]):
        folder = Path("rows-%d" % number)
        code, err = train([*words, "--out", str(folder)], "%s:%d" % (fault, point))
        named = json.loads((folder / "trainer.json").read_text())["state"]
        if code != -signal.SIGKILL or named != "state-2.safetensors":
            fail("many rows, %s:%d: exit code %s, trainer.json names %s: %s" % (fault, point, code, named, err))
        go_on("many rows", folder, 1 + number % 2)
        check_same("many rows, %s:%d" % (fault, point), folder, "rows")
        shutil.rmtree(folder)
    print("many rows: killed at 5 of the calls that write a checkpoint of %.1f MB: the same" % ((Path("rows") / "state-6.safetensors").stat().st_size / 1e6), flush=True)


# ---- kills at random moments, some of them in the middle of a step, some of a write, some of a start ----

def random_kills(kills):
    recipe = ["run.yaml", "--set", "train.steps=%d" % (12 * kills), "--set", "train.save_every=1", "--set", "train.keep_every=0", "--set", "train.eval_every=0"]
    begun = time.monotonic()
    if train(recipe + ["--out", "long"])[0] != 0:
        fail("the long run does not run")
    whole = time.monotonic() - begun
    train(["--resume", "long"])
    longest = time.monotonic() - begun - whole + 1.5 * whole / kills  # a start, and about so much that the last kill meets the end
    folder, reached = Path("killed"), 0
    for kill in range(kills):
        words = ["--resume", str(folder)] if (folder / "recipe.yaml").exists() else recipe + ["--out", str(folder)]
        process = begin(words + ["--threads", str(1 + kill % 2)])
        time.sleep(chance.uniform(0, longest))
        process.kill()
        code, err = end(process)
        if code == 1:
            fail("after %d kills: %s" % (kill, err))
        check_checkpoint("kill %d" % kill, folder)
        reached += code == 0
    go_on("killed", folder, 1)
    check_same("killed %d times" % kills, folder, "long")
    print("killed %d times at random moments (%d of them after its end): the same" % (kills, reached))


# ---- two at once, the clock, memory, folders ----

def two_at_once(whole):
    first = begin(["run.yaml", "--set", "train.steps=100000", "--out", "busy"])
    while not Path("busy/trainer.json").exists():
        if first.poll() is not None:
            fail("the first of two runs ended: " + first.stderr.read())
        time.sleep(0.01)
    for words, says in ((["--resume", "busy"], "another process is training in busy"), (["run.yaml", "--out", "busy"], "holds a run already")):
        code, err = train(words)
        check_line("a second run", code, err)
        if says not in err:
            fail("a second run says: " + err)
    first.send_signal(signal.SIGTERM)
    if end(first)[0] != 0:
        fail("the first of two runs was disturbed")
    print("a second run in the same folder is refused")


def jumping_clock(whole):
    code, err = train(["run.yaml", "--out", "clock"], "clock")
    if code != 0:
        fail("with a clock that jumps: " + err)
    check_same("a clock that jumps", "clock", whole)
    print("a clock that jumps changes nothing")


def little_memory(whole):
    """With less and less address space a run is the same, or fails with a line and goes on later. Where the system gives libgomp
    no thread, libgomp ends the program itself: so one thread."""
    outcomes = {}
    for kilobytes in range(9000, 40000, 250 if long_form else 7000):
        what, folder = "%d kB of address space" % kilobytes, Path("memory-%d" % kilobytes)
        code, err = train(["run.yaml", "--out", str(folder), "--threads", "1"], memory=kilobytes << 10)
        outcomes[code] = outcomes.get(code, 0) + 1
        if code == 127 or "libgomp: " in err:
            continue  # not even loaded, or ended by libgomp, which nobody can stop
        if code != 0:
            check_line(what, code, err)
        go_on(what, folder, 2)
        check_same(what, folder, whole)
    print("little memory: done %d times, refused or broken off %d times, and the same in the end" % (outcomes.get(0, 0), outcomes.get(1, 0)))


def with_mount(script):
    """A shell script in which this user may mount, with the program as $0; None where there is no such thing."""
    process = subprocess.run(["unshare", "-rm", "sh", "-c", script, program], env=environment(None), capture_output=True, text=True)
    return None if process.returncode not in (0, 1) or "unshare:" in process.stderr or "mount:" in process.stderr else process


def no_room(whole):
    """A real disk that is full: a tmpfs, where this user may make one."""
    room = Path("room")
    room.mkdir()
    for kilobytes in range(40, 1200, 60) if long_form else (400,):
        script = 'mount -t tmpfs -o size=%dk none room && { "$0" train -q run.yaml --out room/run; code=$?; cp -r room/run rescued 2>/dev/null; exit $code; }' % kilobytes
        process = with_mount(script)
        if not process:
            print("a full disk: left out, this user may not mount a tmpfs")
            return
        what, folder = "a disk of %d kB" % kilobytes, Path("rescued")
        if process.returncode == 1:
            check_line(what, process.returncode, process.stderr)
            if "full" not in process.stderr:
                fail("%s: %s" % (what, process.stderr))
        go_on(what, folder, 2)
        check_same(what, folder, whole)
        shutil.rmtree(folder)
    print("a full disk loses nothing")


def unwritable(whole):
    places = ["/proc/coterie-run"]
    if os.geteuid() != 0:
        Path("closed").mkdir(mode=0o555)
        places.append("closed/run")
    for place in places:
        code, err = train(["run.yaml", "--out", place])
        check_line("an unwritable folder", code, err)
        if Path(place).exists() or place not in err:
            fail("an unwritable folder: " + err)
    print("an unwritable folder is refused")


def read_only(whole):
    """A disk that cannot be written to, for a new run and for one that is to go on, which stays as it is."""
    if train(["run.yaml", "--set", "train.steps=4", "--out", "half"])[0] != 0:
        fail("half a run does not run")
    before = contents(Path("half"))
    Path("closed-disk").mkdir()
    for script in ('mount -t tmpfs -o ro none closed-disk && exec "$0" train -q run.yaml --out closed-disk/run',
                   'mount --bind half half && mount -o remount,bind,ro half && exec "$0" train -q --resume half --set train.steps=8'):
        process = with_mount(script)
        if not process:
            print("a read-only disk: left out, this user may not mount one")
            return
        check_line("a read-only disk", process.returncode, process.stderr)
    if contents(Path("half")) != before:
        fail("a read-only disk: the run has changed")
    code, err = train(["--resume", "half", "--set", "train.steps=8"])
    if code != 0:
        fail("after a read-only disk: " + err)
    print("a read-only disk is refused, and the run goes on when it can be written to")


def main():
    memory = "/dev/shm" if not long_form and os.access("/dev/shm", os.W_OK) else None  # a short test does not wait for disks
    with tempfile.TemporaryDirectory(prefix="coterie-faults-", dir=memory) as folder:
        os.chdir(folder)
        Path("texts").mkdir()
        Path("texts/sailor.txt").write_text("".join(chance.choice(WORDS) + ("\n" if i % 11 == 10 else " ") for i in range(1800)))
        Path("run.yaml").write_text(RECIPE)
        if train(["run.yaml", "--out", "whole"])[0] != 0:
            fail("the run does not run")
        for check in (mishaps, million, two_at_once, jumping_clock, little_memory, no_room, unwritable, read_only):
            check("whole")
        random_kills(100 if long_form else 4)
        os.chdir("/")


main()
