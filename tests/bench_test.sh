#!/bin/sh
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Tiny shapes through every benchmark, the keys of the JSON, and the scripts that read it. Nothing is timed.
#   usage: bench_test.sh ZENWOQ_BENCH
set -eu
bench=$1
tools=$(cd "$(dirname "$0")/../tools" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

run() {
  "$bench" --cold-mib 1 --benchmark_min_time=0.001 --benchmark_repetitions=2 "$@" >"$folder/out" 2>&1 || {
    cat "$folder/out"
    exit 1
  }
}

# expect STATUS TEXT COMMAND...: the command ends with this status and prints this text.
expect() {
  wanted=$1 text=$2
  shift 2
  status=0
  "$@" >"$folder/out" 2>&1 || status=$?
  if [ "$status" != "$wanted" ] || ! grep -qF -- "$text" "$folder/out"; then
    echo "$*: status $status, wanted $wanted and \"$text\":"
    cat "$folder/out"
    exit 1
  fi
}

# Every combination of what changes the code's path: per group and per channel, odd sizes, two threads, scales, zeros.
run --shape 64,64,32,1,1 --shape 100,72,0,5,2 --shape 16,1001,64,2,1 --json "$folder/all.json"
run --shape 64,64,32,3,1 --scale f16 --zero none,integer --benchmark_filter=linear --json "$folder/integer.json"
run --shape 64,64,32,3,1 --scale f32 --zero offset --benchmark_filter=linear --json "$folder/offset.json"
run --model SmolLM2-135M --m 1,3 --threads 1,2 --group 0,64 --benchmark_filter=linear --json "$folder/model.json"
ZENWOQ_ISA=reference run --shape 64,64,32,1,1 --benchmark_filter=linear --json "$folder/reference.json"

# Wrong options: of each kind of refusal one. A sentence names what was wrong.
while read -r text && read -r options; do
  # shellcheck disable=SC2086
  status=0; "$bench" --cold-mib 1 --benchmark_list_tests $options >"$folder/out" 2>&1 || status=$?
  if [ "$status" = 0 ] || [ "$status" -gt 127 ] || ! grep -qF -- "$text" "$folder/out"; then
    echo "$options: status $status, wanted an error with \"$text\":"
    cat "$folder/out"
    exit 1
  fi
done <<'OPTIONS'
--shape: 5 required N,K,g,M,threads missing
--shape 64,64,32,1
--shape takes five numbers
--shape 64,64,32,1,1,8,8
--shape: Value 0 not in range 1 to 1024
--shape 64,64,32,1,0
group_size 12: must be a multiple of 8
--model SmolLM2-135M --group 64,12
--zero: some not in {integer,none,offset}
--zero none,some
--model: GPT-5 not in {Llama-3.1-70B,Llama-3.1-8B,Mixtral-8x7B-experts,Qwen2.5-7B,SmolLM2-135M,TinyLlama-1.1B}
--model SmolLM2-135M --model GPT-5
--m: Value 0 not in range
--m 1,0
--shape has its own
--shape 64,64,32,1,1 --m 2
unrecognized command-line flag: --unknown
--unknown
OPTIONS
expect 1 "" "$bench" --cold-mib 1 --shape 64,64,32,1,1 --benchmark_filter=nothing

# The suite and the models, by name only: they are long.
list() {
  "$bench" --cold-mib 1 --benchmark_list_tests --benchmark_filter=linear "$@" >"$folder/list" 2>"$folder/out" || {
    cat "$folder/out"
    exit 1
  }
}
rows() {
  count=$(grep -c '^linear/' "$folder/list")
  [ "$count" = "$1" ] || { echo "$count linear rows instead of $1:"; cat "$folder/list"; exit 1; }
}
list --suite speed
rows 240  # 4 weights, 4 groups, 15 M
grep -qx "linear/1000x4096/g32/sbf16/z0/m512/t1/real_time" "$folder/list"
list --suite speed --m 1,2 --group 128 --threads 1,2 --zero none,integer,offset
rows 48
list --model Llama-3.1-8B --model Mixtral-8x7B-experts --m 1
rows 4  # the experts' weights are among those of the first
list --model TinyLlama-1.1B --model Qwen2.5-7B --m 1 --shape 64,64,32,1,1
rows 9
list --model Llama-3.1-70B --m 1
rows 4

python3 - "$folder" <<'PYTHON'
import json, sys

def load(name):
    with open(f"{sys.argv[1]}/{name}.json") as file:
        return json.load(file)

def medians(report):
    for row in report["benchmarks"]:
        assert not row.get("error_occurred"), row
    return {row["run_name"]: row for row in report["benchmarks"] if row.get("aggregate_name") == "median"}

report = load("all")
context, rows = report["context"], medians(report)
for key in ("zenwoq_version", "cpu", "uarch", "tier", "tier_reason", "tuning", "l3_bytes", "cold_bytes", "read_gb_per_s_t1",
            "read_loop_t1", "peak_gflop_per_s_t1", "peak_loop_t1", "read_gb_per_s_t2", "peak_gflop_per_s_t2", "usable_cpus"):
    assert key in context, key
assert float(context["read_gb_per_s_t1"]) > 0

names = ("linear/64x64/g32/sbf16/z0/m1/t1", "linear/100x72/pc/sbf16/z0/m5/t2", "linear/16x1001/g64/sbf16/z0/m2/t1",
         "kernel/emit", "kernel/generate", "registry/hit",
         "weight/pack/nibbles/t1", "weight/pack/nibbles/t2", "weight/pack/u8/t1", "weight/pack/u8/t2", "weight/pack/s8/t1", "weight/pack/s8/t2",
         "weight/create/t1", "weight/create/t2", "weight/unpack/t1", "weight/dequantize/t1",
         "context/create/t1", "context/create/t2", "call/64x64/g32/m1/t1", "call/576x576/g32/m1/t1",
         "pool/empty/t2", "pool/wake/spinning/t2", "pool/wake/slept/t2")
for name in names:
    assert any(run.startswith(name) for run in rows), name
assert len(rows) == len(names), sorted(rows)
# A median alone says nothing of its spread.
assert {row.get("aggregate_name") for row in report["benchmarks"]} >= {None, "median", "cv"}

def check_linear(report):
    linear = {name: row for name, row in medians(report).items() if name.startswith("linear/")}
    assert linear
    for row in linear.values():
        for key in ("real_time", "bytes", "GB/s", "GFLOP/s", "read_GB/s", "bytes_per_weight"):
            assert row[key] > 0, (key, row)
        assert f"tier={report['context']['tier']} cpu=zen" in row["label"] or "cpu=unknown" in row["label"], row
        assert ("gemm_bf16_t4_" in row["label"]) == (report["context"]["tier"] == "avx512bf16"), row
        measured = report["context"]["peak_gflop_per_s_t1"] != "not available"
        assert ("roof_percent" in row) == measured and ("peak_GFLOP/s" in row) == measured, row
    return linear

linear = check_linear(report)
assert linear["linear/64x64/g32/sbf16/z0/m1/t1/real_time"]["bytes"] == 64 * 64 / 2 + 64 * 2 * 2
assert linear["linear/16x1001/g64/sbf16/z0/m2/t1/real_time"]["bytes"] == 16 * 1001 / 2 + 16 * 16 * 2
assert check_linear(load("integer"))["linear/64x64/g32/sf16/zi/m3/t1/real_time"]["bytes"] == 64 * 64 / 2 + 64 * 2 * (2 + 1)
assert check_linear(load("offset"))["linear/64x64/g32/sf32/za/m3/t1/real_time"]["bytes"] == 64 * 64 / 2 + 64 * 2 * (4 + 4)
check_linear(load("reference"))
assert load("reference")["context"]["tier"] == "reference"

for name in ("kernel/emit", "kernel/generate"):
    row = next(row for run, row in rows.items() if run.startswith(name))
    assert 0 < row["median_us"] <= row["max_us"] and row["kernels"] > 300, row
for run, row in rows.items():
    if run.startswith("weight/"):
        assert row["GB/s"] > 0 and row["bytes"] > 0, row
    if run.startswith("call/"):
        assert row["GB/s"] > 0, row
    if run.startswith(("pool/", "call/")):
        assert 0 < row["real_time"] < 1e9, row  # ns; a second is how long a wake waits before it gives up
# The packed form of 64 x 64 at group 32: 256 of header, the codes, 2 scales a column, 64 spare.
packed = linear["linear/64x64/g32/sbf16/z0/m1/t1/real_time"]["bytes_per_weight"] * 64 * 64
assert packed == 256 + 64 * 64 / 2 + 64 * 2 * 2 + 64, packed
model = check_linear(load("model"))
assert len(model) == 4 * 2 * 2 * 2, sorted(model)
assert "linear/192x576/g64/sbf16/z0/m3/t2/real_time" in model and "linear/576x1536/pc/sbf16/z0/m1/t1/real_time" in model
assert next(row for run, row in rows.items() if run.startswith("context/create/t1"))["first_us"] > 0

# For the scripts: a report whose figures are known, on any CPU. Of each linear row the two repetitions take 10 and 12 us
# at 90 and 92 percent of the roof; two threads half of the time.
def known(name, change=lambda row: None, **context):
    report = load("model")
    report["context"].update({"cpu": "Test CPU", "date": "2026-01-02T03:04:05+00:00"}, **context)
    for row in report["benchmarks"]:
        if row["run_type"] == "iteration":
            i = row["repetition_index"]
            row["real_time"] = row["cpu_time"] = (10 + 2 * i) / (2 if "/t2/" in row["run_name"] else 1)
            row["roof_percent"] = 90 + 2 * i
            change(row)
    json.dump(report, open(f"{sys.argv[1]}/{name}.json", "w"))

def times(name, factor):
    def change(row):
        if row["run_name"].startswith(name):
            row["real_time"] *= factor
            row["roof_percent"] /= factor
    return change

known("known")
known("slower", times("linear/192x576/g64/sbf16/z0/m3/t2/", 1.5))
known("faster", times("linear/192x576/g64/sbf16/z0/m3/t2/", 0.5))
known("noise", times("linear/", 1.1))  # 10..12 and 11..13.2
known("roof_only", lambda row: row.update(roof_percent=row["roof_percent"] / 2 if "/m1/" in row["run_name"] else row["roof_percent"]))
known("no_roof", lambda row: row.pop("roof_percent"))  # as where no vdpbf16ps runs
known("other_cpu", cpu="Other CPU")
peers = {"kind": "peers", "cpu": "Test CPU", "date": "2026-01-02", "rows": [
    {"shape": [64, 64], "group": 32, "m": m, "threads": 1, "implementation": name, "mode": mode, "median_us": us * m, "spread": 0.01,
     "relative_error": 1e-7}
    for m in (1, 4) for name, mode, us in (("zenwoq", "bf16 activations", 1), ("a peer", "bf16 activations", 3),
                                           ("a peer", "int8 activations", 0.5))]}
for name, cpu in (("peers", "Test CPU"), ("other_peers", "Other CPU")):
    json.dump({**peers, "cpu": cpu}, open(f"{sys.argv[1]}/{name}.json", "w"))
json.dump({**peers, "rows": peers["rows"][1:3]}, open(f"{sys.argv[1]}/peers_alone.json", "w"))
print("ok:", len(rows), "benchmarks")
PYTHON

compare() { expect "$1" "$2" python3 "$tools/compare_bench.py" "$folder/$3.json" "$folder/$4.json" ${5:-}; }
compare 0 "32 rows compared, 0 regressions beyond 3 %" known known
compare 1 "regression: linear/192x576/g64/sbf16/z0/m3/t2/real_time: 5.5 -> 8.25 us, 50.0 % worse" known slower
compare 1 "32 rows compared, 1 regressions" known slower
compare 0 "0 regressions beyond 51 %" known slower --threshold=51%
compare 0 "better: linear/192x576/g64/sbf16/z0/m3/t2/real_time" known faster
compare 0 "0 regressions" known noise
compare 0 "0 regressions" known roof_only
compare 1 "16 regressions" known roof_only --by=roof
compare 0 "note: cpu was Test CPU, is Other CPU" known other_cpu
compare 2 "no row in common" known all
compare 2 "invalid percent value" known known --threshold=much
compare 2 "not the JSON of zenwoq-bench" known peers
compare 2 "No such file" known nowhere

table() { expect 0 "$1" python3 "$tools/bench_table.py" "$folder/$2.json" ${3:-}; }
table "Test CPU" known
table "### N x K = 192 x 576, 2 threads: percent of the roof" known
table "| M | per channel | g64 |" known
table "| 3 | 91.0 | 91.0 |" known
table "| 3 | 91.0 (90-92) | 91.0 (90-92) |" known --spread
table "| 576 x 1536 | g64 | 3 | 2 | 2.00 | 91.0 |" known
table "| M | g32, f16 | g32, integer zero, f16 |" integer
table "| pool/wake/slept/t2/" all
table "| 3 | no roof | no roof |" no_roof

# Debian's matplotlib belongs to Debian's Python, which may not be the first in PATH.
plotting=
for python in python3 /usr/bin/python3; do
  if "$python" -c "import matplotlib" 2>/dev/null; then plotting=$python && break; fi
done
if [ -z "$plotting" ]; then
  echo "SKIPPED: tools/plot_bench.py is NOT tested, no Python here has matplotlib (python3-matplotlib)"
  expect 2 "install python3-matplotlib" python3 "$tools/plot_bench.py" "$folder/known.json" --out "$folder/picture.png"
  exit 0
fi
export MPLCONFIGDIR="$folder"
plot() {
  status=$1 text=$2
  shift 2
  expect "$status" "$text" env -u DISPLAY "$plotting" "$tools/plot_bench.py" "$@" --out "$folder/picture.png"
}
plot 0 "picture.png" "$folder/known.json" "$folder/faster.json"
[ ! -e "$folder/picture-peers.png" ]
plot 0 "picture-peers.png" "$folder/known.json" "$folder/peers.json"
python3 - "$folder/picture.png" "$folder/picture-peers.png" <<'PYTHON'
import struct, sys
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", path
    width, height = struct.unpack(">II", data[16:24])
    assert width > 600 and height > 400 and len(data) > 10000, (path, width, height, len(data))
PYTHON
plot 2 "files of several CPUs" "$folder/known.json" "$folder/other_cpu.json"
plot 2 "files of several CPUs" "$folder/peers.json" "$folder/other_peers.json"
plot 2 "no zenwoq among the peers" "$folder/peers_alone.json"
plot 2 "nothing to draw" "$folder/no_roof.json"
plot 2 "picture.png: no JSON" "$folder/picture.png"
echo "ok: scripts"
