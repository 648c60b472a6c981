#!/bin/sh
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs every benchmark on tiny shapes and checks the keys of the JSON. Times are not judged.
#   usage: bench_test.sh ZENWOQ_BENCH
set -eu
bench=$1
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

run() {
  "$bench" --cold-mib 1 --benchmark_min_time=0.001 --benchmark_repetitions=2 "$@" >"$folder/out" 2>&1 || {
    cat "$folder/out"
    exit 1
  }
}

# Whatever takes another path through the code: per group and per channel, odd sizes, two threads, scales, zeros.
run --shape 64,64,32,1,1 --shape 100,72,0,5,2 --shape 16,1001,64,2,1 --experts tiny --json "$folder/all.json"
run --shape 128,64,32,3,1 --epilogue none,silu,mul_add,gu_silu --benchmark_filter=linear --json "$folder/epilogues.json"
run --shape 64,64,32,3,1 --scale f16 --zero none,integer --benchmark_filter=linear --json "$folder/integer.json"
run --shape 64,64,32,3,1 --scale f32 --zero offset --benchmark_filter=linear --json "$folder/offset.json"
run --model SmolLM2-135M --m 1,3 --threads 1,2 --group 0,64 --benchmark_filter=linear --json "$folder/model.json"
run --shape 64,64,32,3,1 --table integer,nf4 --benchmark_filter=linear --json "$folder/tables.json"
ZENWOQ_TIER=reference run --shape 64,64,32,1,1 --benchmark_filter=linear --json "$folder/reference.json"

# Wrong options, one for each kind of refusal. The message must name what was wrong.
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
--zero: some not in {float,integer,none,offset}
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
if "$bench" --cold-mib 1 --shape 64,64,32,1,1 --benchmark_filter=nothing >"$folder/out" 2>&1; then
  echo "a filter that nothing matches is no error"
  exit 1
fi

# The suite and the models are only listed: running them takes long.
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
         "kernel/emit/avx2", "kernel/generate/avx2", "kernel/emit/avx512bf16", "kernel/generate/avx512bf16", "registry/hit",
         "weight/pack/nibbles/t1", "weight/pack/nibbles/t2", "weight/pack/u8/t1", "weight/pack/u8/t2", "weight/pack/s8/t1", "weight/pack/s8/t2",
         "weight/pack/nibbles/act_order/t1", "weight/pack/gptq/act_order/t1",
         *(f"weight/pack/{layout}/t1" for layout in (
             "nibbles_high", "gguf_q4_0", "gguf_q4_1", "gguf_mxfp4", "gguf_q4_k", "gguf_iq4_xs", "gptq", "awq", "awq_fast",
             "aten_64", "aten_32")),
         "weight/create/t1", "weight/create/t2", "weight/unpack/t1", "weight/dequantize/t1",
         "context/create/t1", "context/create/t2", "call/64x64/g32/m1/t1", "call/576x576/g32/m1/t1",
         "pool/empty/t2", "pool/wake/spinning/t2", "pool/host/own/t2", "pool/host/lent/t2", "pool/wake/slept/t2")
for name in names:
    assert any(run.startswith(name) for run in rows), name
experts = {name: row for name, row in rows.items() if name.startswith("experts/tiny/")}
assert len(experts) == 2 * 6 * 2 * 2 and len(rows) == len(names) + len(experts), sorted(rows)  # groups, tokens, threads, hot
for name, row in experts.items():
    assert row["tokens/s"] > 0 and ("roof_percent" in row) == (context["peak_gflop_per_s_t1"] != "not available"), (name, row)
# A median alone says nothing about its spread.
assert {row.get("aggregate_name") for row in report["benchmarks"]} >= {None, "median", "cv"}

def check_linear(report):
    linear = {name: row for name, row in medians(report).items() if name.startswith("linear/")}
    assert linear
    for row in linear.values():
        for key in ("real_time", "bytes", "GB/s", "GFLOP/s", "read_GB/s", "bytes_per_weight"):
            assert row[key] > 0, (key, row)
        assert f"tier={report['context']['tier']} cpu=zen" in row["label"] or "cpu=unknown" in row["label"], row
        assert ("gemm_bf16_" in row["label"]) == (report["context"]["tier"] != "reference"), row
        measured = report["context"]["peak_gflop_per_s_t1"] != "not available"
        assert ("roof_percent" in row) == measured and ("peak_GFLOP/s" in row) == measured, row
    return linear

linear = check_linear(load("epilogues"))
for epilogue, word in (("", ""), ("/silu", "_silu_"), ("/mul_add", "_mul_add_"), ("/gu_silu", "gu_yf32_silu_")):
    assert word in linear[f"linear/128x64/g32/sbf16/z0/m3/t1{epilogue}/real_time"]["label"] or context["tier"] == "reference", epilogue
linear = check_linear(report)
assert linear["linear/64x64/g32/sbf16/z0/m1/t1/real_time"]["bytes"] == 64 * 64 / 2 + 64 * 2 * 2
assert linear["linear/16x1001/g64/sbf16/z0/m2/t1/real_time"]["bytes"] == 16 * 1001 / 2 + 16 * 16 * 2
assert check_linear(load("integer"))["linear/64x64/g32/sf16/zi/m3/t1/real_time"]["bytes"] == 64 * 64 / 2 + 64 * 2 * (2 + 1)
assert check_linear(load("offset"))["linear/64x64/g32/sf32/za/m3/t1/real_time"]["bytes"] == 64 * 64 / 2 + 64 * 2 * (4 + 4)
tables = check_linear(load("tables"))
assert set(tables) == {f"linear/64x64/g32/sbf16/z0/{table}m3/t1/real_time" for table in ("", "nf4/")}
check_linear(load("reference"))
assert load("reference")["context"]["tier"] == "reference"

for name in ("emit/avx2", "generate/avx2", "emit/avx512bf16", "generate/avx512bf16"):
    row = next(row for run, row in rows.items() if run.startswith(f"kernel/{name}"))
    assert 0 < row["median_us"] <= row["max_us"] and row["kernels"] > 200, row
    # Each repetition has its slowest kernel, so the median has no label.
    labels = [row["label"] for row in report["benchmarks"] if row["run_name"].startswith(f"kernel/{name}") and "label" in row]
    assert labels and all("_" + name.split("/")[1] in label for label in labels), labels
for run, row in rows.items():
    if run.startswith("weight/"):
        assert row["GB/s"] > 0 and row["bytes"] > 0, row
    if run.startswith("call/"):
        assert row["GB/s"] > 0, row
    if run.startswith(("pool/", "call/")):
        assert 0 < row["real_time"] < 1e9, row  # ns; a second is how long a wake waits before it gives up
# The packed form of 64 x 64 at group 32: a header of 256 bytes, the codes, 2 scales per column, 64 bytes to spare.
packed = linear["linear/64x64/g32/sbf16/z0/m1/t1/real_time"]["bytes_per_weight"] * 64 * 64
assert packed == 256 + 64 * 64 / 2 + 64 * 2 * 2 + 64, packed
model = check_linear(load("model"))
assert len(model) == 4 * 2 * 2 * 2, sorted(model)
assert "linear/192x576/g64/sbf16/z0/m3/t2/real_time" in model and "linear/576x1536/pc/sbf16/z0/m1/t1/real_time" in model
assert next(row for run, row in rows.items() if run.startswith("context/create/t1"))["first_us"] > 0

print("ok:", len(rows), "benchmarks")
PYTHON

# The programs that read results can read these.
cd "$root"
for name in all integer reference; do
  python3 -m bench.report.store "$folder/$name.json" "$folder/$name.csv"
  python3 -m bench.report.table "$folder/$name.csv" >"$folder/$name.txt"
done
grep -q "^| M  *| g32, f16  *| g32, integer zero, f16  *|$" "$folder/integer.txt"
grep -q "^| pool/wake/slept/t2/" "$folder/all.txt"
