#!/bin/sh
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Tiny shapes through every benchmark, and the keys of the JSON. Nothing is timed.   usage: bench_test.sh ZENWOQ_BENCH
set -eu
bench=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

run() {
  "$bench" --cold-mib 1 --benchmark_min_time=0.001 --benchmark_repetitions=2 "$@" >"$folder/out" 2>&1 || {
    cat "$folder/out"
    exit 1
  }
}

# Every combination of what changes the code's path: per group and per channel, odd sizes, two threads, scales, zeros.
run --shape 64,64,32,1,1 --shape 100,72,0,5,2 --shape 16,1001,64,2,1 --json "$folder/all.json"
run --shape 64,64,32,3,1 --scale f16 --zero integer --benchmark_filter=linear --json "$folder/integer.json"
run --shape 64,64,32,3,1 --scale f32 --zero offset --benchmark_filter=linear --json "$folder/offset.json"
ZENWOQ_ISA=reference run --shape 64,64,32,1,1 --benchmark_filter=linear --json "$folder/reference.json"

for wrong in "--shape 64,64,32,1" "--shape 0,64,32,1,1" "--shape a,64,32,1,1" "--shape 64,64,33,1,1" "--scale int" \
             "--zero some" "--unknown" "--benchmark_filter=nothing"; do
  # shellcheck disable=SC2086
  if "$bench" --cold-mib 1 --shape 64,64,32,1,1 $wrong >"$folder/out" 2>&1; then
    echo "accepted: $wrong"
    exit 1
  fi
done

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
            "read_loop_t1", "peak_gflop_per_s_t1", "peak_loop_t1", "read_gb_per_s_t2", "peak_gflop_per_s_t2"):
    assert key in context, key
assert float(context["read_gb_per_s_t1"]) > 0

names = ("linear/64x64/g32/sbf16/z0/m1/t1", "linear/100x72/pc/sbf16/z0/m5/t2", "linear/16x1001/g64/sbf16/z0/m2/t1",
         "kernel/emit", "kernel/generate", "registry/hit", "weight/pack/nibbles", "weight/pack/s8", "weight/unpack",
         "context/create/t1", "context/create/t2", "call/64x64/g32/m1/t1")
for name in names:
    assert any(run.startswith(name) for run in rows), name
assert len(rows) == len(names), sorted(rows)
# A median alone says nothing of its spread.
assert {row.get("aggregate_name") for row in report["benchmarks"]} >= {None, "median", "cv"}

def check_linear(report):
    linear = {name: row for name, row in medians(report).items() if name.startswith("linear/")}
    assert linear
    for row in linear.values():
        for key in ("real_time", "bytes", "GB/s", "GFLOP/s", "read_GB/s"):
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
for name in ("weight/pack/nibbles", "weight/pack/s8", "weight/unpack"):
    row = next(row for run, row in rows.items() if run.startswith(name))
    assert row["GB/s"] > 0 and row["bytes"] > 0, row
assert next(row for run, row in rows.items() if run.startswith("context/create/t1"))["first_us"] > 0
print("ok:", len(rows), "benchmarks")
PYTHON
