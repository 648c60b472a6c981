#!/bin/sh
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs bench/experts with zenwoq, and with torch where there is one, at tiny sizes, and checks its JSON and its tables,
# and that missing and wrong peers are reported. Times are not judged, and nothing is installed.
#   usage: experts_peers_test.sh LIBZENWOQ_SO
set -eu
library=$(realpath "$1")
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The environment of the peers has torch if bench/peers.py has run here; Debian's numpy belongs to Debian's Python.
python=
for candidate in "${XDG_CACHE_HOME:-$HOME/.cache}/zenwoq/peers-venv/bin/python" python3 /usr/bin/python3; do
  if "$candidate" -c "import numpy" 2>/dev/null; then python=$(command -v "$candidate") && break; fi
done
if [ -z "$python" ]; then
  echo "SKIPPED: bench/experts is NOT tested, no Python here has numpy (python3-numpy)"
  exit 77
fi
cd "$root"

# expect STATUS TEXT OPTION...: the command must end with this status and print this text.
expect() {
  wanted=$1 text=$2
  shift 2
  status=0
  python3 -m bench.experts --library "$library" "$@" >"$folder/out" 2>&1 || status=$?
  if [ "$status" != "$wanted" ] || ! grep -qF -- "$text" "$folder/out"; then
    echo "$*: status $status, wanted $wanted and \"$text\":"
    cat "$folder/out"
    exit 1
  fi
}
tiny="--python $python --block 4,2,128,256 --threads 1 --repetitions 2 --seconds 0.001 --routings 3"

# shellcheck disable=SC2086
expect 0 "### 4,2,128,256, 1 thread, random routing" $tiny --only zenwoq,torch --tokens 1,5 --json "$folder/even.json"
# shellcheck disable=SC2086
expect 0 "### 4,2,128,256, 1 thread, all tokens choose the same experts" $tiny --only zenwoq-g128 --tokens 3 --hot \
  --json "$folder/hot.json"
# shellcheck disable=SC2086
expect 0 "Not measured: ggml-repack, 1 thread: RuntimeError: no libggml-base.so in $folder" $tiny --only ggml-repack \
  --ggml "$folder" --tokens 1

# A peer that computes something else.
mkdir "$folder/wrong"
cat >"$folder/wrong/sitecustomize.py" <<'PYTHON'
import sys
if "zenwoq-g128" in sys.orig_argv:
    import bench.experts.zenwoq_peer as peer
    right = peer.make_weight
    peer.make_weight = lambda context, weight: right(context, type(weight)(*weight.values().shape, weight.group, 0))
PYTHON
# shellcheck disable=SC2086
PYTHONPATH="$root:$folder/wrong:$root/python" expect 0 "RuntimeError: wrong result, relative error" $tiny \
  --only zenwoq-g128 --tokens 3

expect 2 "no peer 'none'; there are zenwoq-g32" --only none
expect 2 "invalid block value: '4,5,128,128'" --block 4,5,128,128
expect 2 "invalid block value: '4,2,128,100'" --block 4,2,128,100
expect 2 "this process may use" --threads 4096
expect 2 "no such folder" --json "$folder/nowhere/experts.json"
expect 2 "build zenwoq first" --library "$folder/nowhere.so"

"$python" - "$folder" <<'PYTHON'
import json, sys
from pathlib import Path

import numpy as np

from bench.experts import catalogue
from bench.experts.operands import Problem

def load(name):
    with open(f"{sys.argv[1]}/{name}.json") as file:
        return json.load(file)

report = load("even")
assert report["kind"] == "experts" and report["cpu"] and report["tier"] and report["date"], report
keys = {peer["key"] for peer in report["peers"]}
missing = {entry["key"]: entry["reason"] for entry in report["not_measured"]}
assert {"zenwoq-g32", "zenwoq-g128"} <= keys and keys | set(missing) == {
    "zenwoq-g32", "zenwoq-g128", "zenwoq-linears", "torch-grouped"}, (keys, missing)
assert all("No module named 'torch'" in reason for reason in missing.values()), missing
assert {(row["key"], row["tokens"]) for row in report["rows"]} == {(key, tokens) for key in keys for tokens in (1, 5)}
for row in report["rows"]:
    assert row["block"] == "4,2,128,256" and (row["threads"], row["hot"]) == (1, False), row
    assert 0 < row["low_ms"] <= row["median_ms"] <= row["high_ms"] and len(row["repetitions_ms"]) == 2, row
    assert 0 < row["relative_error"] < 0.01, row
    assert abs(row["tokens_per_s"] * row["median_ms"] / 1000 / row["tokens"] - 1) < 1e-9, row
    assert row["ratio"] == 1 or row["key"] != "zenwoq-g32", row
    assert row["group"] == (128 if row["key"] == "zenwoq-g128" else 32), row
assert [(row["key"], row["hot"]) for row in load("hot")["rows"]] == [("zenwoq-g32", True), ("zenwoq-g128", True)]

# Routings: different experts for a token, all the same when hot, others in the next.
block = catalogue.block("8,3,128,128")
even, hot = (Problem(block, 32, 50, kind, 4) for kind in (False, True))
for routing in even.routings + hot.routings:
    assert all(len(set(ids)) == 3 for ids in routing.ids) and 0 <= routing.ids.min() <= routing.ids.max() < 8
    assert np.allclose(routing.weights.sum(axis=1), 1, atol=0.01)
assert len(np.unique(even.routings[0].ids)) == 8 and len(np.unique(hot.routings[0].ids)) == 3
assert (even.routings[0].ids != even.routings[1].ids).any()
assert (hot.routings[0].ids == hot.routings[0].ids[0]).all()

# The exact result, written once more: one token after another, no expert twice in one sum.
y = np.zeros((50, 128))
routing = even.routings[2]
for token, x in enumerate(even.x()):
    for expert, share in zip(routing.ids[token], routing.weights[token]):
        gate, up, down = (even.weight(expert, part).values().astype(np.float64) for part in range(3))
        g = gate @ x
        y[token] += share * (down @ (g / (1 + np.exp(-g)) * (up @ x)))
assert even.relative_error(y, 2, Path(sys.argv[1])) < 1e-5
assert even.relative_error(y[::-1], 2, Path(sys.argv[1])) > 0.5

assert all("==" in pin for entry in catalogue.ENTRIES for pin in entry.requirements)
assert all(("int8" in entry.mode) == (entry.activations == "int8") for entry in catalogue.ENTRIES)
PYTHON
echo "ok: experts_peers"
