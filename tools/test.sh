#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Builds and runs every test: those of the release build, then those that read hostile files under AddressSanitizer and
# UndefinedBehaviorSanitizer, then those that use threads under ThreadSanitizer, then those of the Python package, then those
# of its plugin with vLLM. The exit status is non-zero if a test failed or none ran.
set -euo pipefail
cd "$(dirname "$0")/.."
# clang-format for tools/format.sh, cmake for the programs of others, python3-* for bench/report/plot.py and bench/peers.py.
tools/install_packages.sh clang-format cmake python3-matplotlib python3-numpy
meson=$(tools/install_packages.sh --print-meson)

# The test programs of a suite, as ninja names them.
programs() {
  "$meson" introspect --tests "$1" | python3 -c '
import json, os, sys
for test in json.load(sys.stdin):
    if any(suite.endswith(":" + sys.argv[2]) for suite in test["suite"]):
        print(os.path.relpath(test["cmd"][0], sys.argv[1]))' "$1" "$2"
}

# build_and_test FOLDER SUITE SETUP-OPTION...: appends to $logs
logs=()
failed=0
build_and_test() {
  local folder=$1 suite=$2
  shift 2
  echo "== $folder: $suite"
  [ -f "$folder/build.ninja" ] || "$meson" setup "$folder" "$@" >"$folder.setup.log" 2>&1 || { cat "$folder.setup.log"; exit 1; }
  # shellcheck disable=SC2046
  ninja -C "$folder" --quiet $([ "$suite" = zenwoq ] || programs "$folder" "$suite")
  "$meson" test -C "$folder" --no-rebuild --print-errorlogs --suite "$suite" || failed=1
  logs+=("$folder/meson-logs/testlog.json")
}

echo "== format"
tools/format.sh --check || { echo "tools/format.sh would change C++ files"; failed=1; }
build_and_test build zenwoq
# Lightly optimized: that compiles three times as fast, and the tests are small. Null pointers are found without checks of each.
sanitized=(-Dbuildtype=custom -Doptimization=1 -Ddebug=false -Dc_args=-g1 -Ddefault_library=static)
build_and_test build-asan hostile "${sanitized[@]}" -Db_sanitize=address,undefined '-Dcpp_args=-g1 -fno-sanitize=null,vptr,object-size'
build_and_test build-tsan threads "${sanitized[@]}" -Db_sanitize=thread -Dcpp_args=-g1

# Tests the package in its cached environment. The real model is fetched for the tests that generate text with it.
test_python() {
  echo "== python"
  local venv
  venv=$(tools/python_venv.sh --install)
  tools/fetch_model.sh >/dev/null
  "$venv/bin/ruff" check --quiet || failed=1
  "$venv/bin/ruff" format --check --quiet || { echo "ruff format would change Python files"; failed=1; }
  "$venv/bin/mypy" --no-error-summary || failed=1
  # The launchers have the names of the packages that they start, and mypy takes only one module of a name at a time.
  for launcher in bench/llm.py bench/peers.py bench/serve.py; do "$venv/bin/mypy" --no-error-summary "$launcher" || failed=1; done
  "$venv/bin/python" -m pytest --durations=5 --timeout=600 --junitxml=build-python/pytest.xml || failed=1
  logs+=(build-python/pytest.xml)
}
test_python

# Tests the plugin with vLLM, in an environment of its own.
test_vllm() {
  echo "== vllm"
  local venv
  venv=$(tools/vllm_venv.sh --install)
  "$venv/bin/python" -m pytest --durations=5 --timeout=600 --junitxml=build-python/vllm.xml python/tests/vllm || failed=1
  logs+=(build-python/vllm.xml)
}
test_vllm

python3 - "${logs[@]}" <<'PYTHON' || failed=1
import json, sys
import xml.etree.ElementTree as xml

def results_of(log):
    if not log.endswith(".xml"):
        return [json.loads(line)["result"] for line in open(log)]
    kinds = {"skipped": "SKIP", "failure": "FAIL", "error": "ERROR"}
    cases = xml.parse(log).iter("testcase")
    return [next((kinds[part.tag] for part in case if part.tag in kinds), "OK") for case in cases]

results = [result for log in sys.argv[1:] for result in results_of(log)]
passed = results.count("OK")
skipped = results.count("SKIP")
print(f"{passed} passed, {len(results) - passed - skipped} failed, {skipped} skipped")
sys.exit(0 if passed > 0 and passed + skipped == len(results) else 1)
PYTHON
exit "$failed"
