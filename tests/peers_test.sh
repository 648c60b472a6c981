#!/bin/sh
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs bench/peers.py with zenwoq alone at tiny shapes and checks the keys of its JSON, and that a missing peer is
# reported. Times are not judged, and nothing is installed.
#   usage: peers_test.sh LIBZENWOQ_SO
set -eu
library=$1
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Debian's numpy belongs to Debian's Python, which may not be the first in PATH.
python=
for candidate in python3 /usr/bin/python3; do
  if "$candidate" -c "import numpy" 2>/dev/null; then python=$(command -v "$candidate") && break; fi
done
if [ -z "$python" ]; then
  echo "SKIPPED: bench/peers.py is NOT tested, no Python here has numpy (python3-numpy)"
  exit 77
fi

# expect STATUS TEXT OPTION...: the command must end with this status and print this text.
expect() {
  wanted=$1 text=$2
  shift 2
  status=0
  python3 "$root/bench/peers.py" --library "$library" "$@" >"$folder/out" 2>&1 || status=$?
  if [ "$status" != "$wanted" ] || ! grep -qF -- "$text" "$folder/out"; then
    echo "$*: status $status, wanted $wanted and \"$text\":"
    cat "$folder/out"
    exit 1
  fi
}
tiny="--group 32 --repetitions 2 --seconds 0.001 --cold-mib 1"

# Stubs of two peers' libraries: one cannot be imported, the other takes its process down.
mkdir "$folder/stubs"
echo 'raise ImportError("a stub")' >"$folder/stubs/openvino.py"
echo 'import os; os.abort()' >"$folder/stubs/onnxruntime.py"
export PYTHONPATH="$folder/stubs"
# shellcheck disable=SC2086
expect 0 "Not measured: openvino, bf16 activations: ImportError: a stub" $tiny --python "$python" \
  --only zenwoq,openvino,onnxruntime --shape 64,128 --shape 100,96 --m 3,1 --json "$folder/all.json"
unset PYTHONPATH

# A Python whose pip finds nothing of one peer: the others go on.
mkdir -p "$folder/venv/bin"
cat >"$folder/venv/bin/python" <<PYTHON
#!/bin/sh
case "\$*" in
  *"pip install"*onnxruntime==*) echo "ERROR: nothing to install from" >&2; exit 1;;
  *"-m pip"*) exit 0;;
esac
exec "$python" "\$@"
PYTHON
chmod +x "$folder/venv/bin/python"
# shellcheck disable=SC2086
expect 0 "NOT measured: onnxruntime-int8: pip install numpy" $tiny --venv "$folder/venv" \
  --only onnxruntime-int8 --shape 64,128 --m 1 --json "$folder/pip.json"
expect 1 "without zenwoq there is nothing to compare with" --venv "$folder/all.json/no-folder" --only zenwoq

expect 2 'no peer '"'none'"'; there are zenwoq, torch-dense' --only none
expect 2 "K must be a multiple of the group size 128" --shape 64,100
expect 2 "--group 20: must be a multiple of 8" --group 20
expect 2 "this process may use" --threads 4096
expect 2 "no such folder" --json "$folder/nowhere/peers.json"
expect 2 "invalid 2 numbers from 8 on value" --shape 64
expect 2 "build zenwoq first" --library "$folder/nowhere.so"

python3 - "$folder" "$root" <<'PYTHON'
import json, sys

sys.path.insert(0, sys.argv[2])
from bench.peers import catalogue

def load(name):
    with open(f"{sys.argv[1]}/{name}.json") as file:
        return json.load(file)

report = load("all")
assert report["kind"] == "peers"
for key in ("cpu", "uarch", "tier", "tuning", "l3_bytes", "zenwoq_version", "threads", "date", "repetitions",
            "seconds", "wall_seconds"):
    assert report[key] not in (None, ""), key
assert [peer["key"] for peer in report["peers"]] == ["zenwoq"] and report["peers"][0]["call_us"] > 0, report["peers"]
measured = [(row["shape"], row["m"]) for row in report["rows"]]
assert measured == [([64, 128], 1), ([64, 128], 3), ([100, 96], 1), ([100, 96], 3)], measured
for row in report["rows"]:
    assert row["implementation"] == "zenwoq" and row["mode"] == "bf16 activations", row
    assert (row["group"], row["threads"], row["copies"] >= 2) == (32, 1, True), row
    assert 0 < row["low_us"] <= row["median_us"] <= row["high_us"] and row["spread"] >= 0, row
    assert len(row["repetitions_us"]) == 2, row
    assert 0 < row["relative_error"] < 1e-6 and row["busy"] > 0 and row["notes"], row
missing = {entry["key"]: entry for entry in report["not_measured"]}
assert list(missing) == ["onnxruntime-f32", "onnxruntime-int8", "openvino-bf16", "openvino-int8",
                         "openvino-int8-group"], missing
for key, entry in missing.items():
    # The onnx package may be missing before onnxruntime takes the process down.
    wanted = ("a stub",) if key.startswith("openvino") else ("SIGABRT", "No module named 'onnx'")
    assert any(text in entry["reason"] for text in wanted) and entry["shape"] is None, entry
report = load("pip")
pins = " ".join(catalogue.OPERANDS + catalogue.ONNXRUNTIME)
assert [entry["reason"] for entry in report["not_measured"]] == [
    f"pip install {pins}: ERROR: nothing to install from"], report["not_measured"]
assert len(report["rows"]) == 1

# What the pictures and the text rely on.
assert all(("int8" in entry.mode) == (entry.activations == "int8") for entry in catalogue.ENTRIES)
assert len({(entry.implementation, entry.mode) for entry in catalogue.ENTRIES}) == len(catalogue.ENTRIES)
assert all("==" in pin for entry in catalogue.ENTRIES for pin in entry.requirements)
assert [entry.key for entry in catalogue.choose(["torch"])] == ["zenwoq", "torch-dense", "torch-int4pack"]
PYTHON

# The table is the same from the stored form; cells are aligned by spaces.
(cd "$root" && python3 -m bench.report.store "$folder/all.json" "$folder/all.csv")
for form in json csv; do
  (cd "$root" && python3 -m bench.report.table "$folder/all.$form" --spread) | tr -s " " >"$folder/$form.txt"
done
cmp "$folder/json.txt" "$folder/csv.txt"
for text in "### N x K = 100 x 96, g32: time against peers" "| microseconds a layer (zenwoq = 1) | M = 1 | M = 3 |" \
    "Not measured: openvino, int8 activations: ImportError: a stub"; do
  grep -qF -- "$text" "$folder/csv.txt" || { echo "no \"$text\":"; cat "$folder/csv.txt"; exit 1; }
done
echo "ok: peers"
