#!/usr/bin/env bash
# coterie bench: the shape of what it prints, not the times.
set -eu
source "$2/tests/cli/helpers.bash"

small="--dtype f32 --steps 1 --set model.num_layers=1 --set train.batch=1 --set data.context=32"
expect 0 bench routers hash $small --json
python3 - <<'END'
import json
out = json.load(open("out"))
assert out["cases"] == [] and out["auction"] == [] and out["machine"]["f32_flops"] > 0
assert [(r["name"], r["dtype"]) for r in out["routers"]] == [("hash", "f32")]
for row in out["routers"]:
    assert set(row) == {"name", "dtype", "step_ms", "routing_ms", "share", "target", "met"}
    assert 0 < row["share"] < 1 and row["met"] == (row["share"] <= row["target"])
END

expect 2 bench routers no_such
err_has "there is no row 'no_such'"
expect 2 bench retrieval 100
err_has "there is no row '100'"
expect 0 bench --help
out_has "routers"
