#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Fuzzes under AddressSanitizer and UndefinedBehaviorSanitizer, guided by coverage (libFuzzer):
#   tools/fuzz.sh RUNS [TARGET...]      RUNS inputs for each target (default: all of tests/fuzz)
#   tools/fuzz.sh --merge [TARGET...]   adds to the corpora in the tree what covers more, of what the runs found
#   tools/fuzz.sh --coverage            lines and regions of formats/ that the corpus of checkpoint and what was found cover
# What is found: build-fuzz/TARGET.crash-*; give such a file to build-fuzz/tests/fuzz/TARGET_fuzz to see it again.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { sed -n '6,10s/^# \{0,1\}//p' "$0"; exit 2; }
tools/install_packages.sh clang-14 libclang-rt-14-dev llvm-14
meson=$(tools/install_packages.sh --print-meson)
runs=$1
shift
targets=("$@")
[ "$runs" != --coverage ] || targets=(checkpoint)
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(find tests/fuzz -name '*_fuzz.cpp' -printf '%f\n' | sed 's/_fuzz.cpp$//' | sort)

if [ ! -f build-fuzz/build.ninja ]; then
  CC=clang-14 CXX=clang++-14 "$meson" setup build-fuzz -Dfuzz=true -Dbuildtype=debugoptimized -Db_sanitize=address,undefined \
    -Db_lundef=false -Ddefault_library=static -Dcpp_args="-fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping" \
    -Dcpp_link_args=-fprofile-instr-generate >build-fuzz.setup.log || { cat build-fuzz.setup.log; exit 1; }
fi
programs=("${targets[@]/%/_fuzz}")
ninja -C build-fuzz --quiet "${programs[@]/#/tests/fuzz/}"

export LLVM_PROFILE_FILE=/dev/null  # only --coverage wants it
if [ "$runs" = --coverage ]; then
  LLVM_PROFILE_FILE=build-fuzz/coverage.profraw build-fuzz/tests/fuzz/checkpoint_fuzz -runs=0 tests/fuzz/corpus/checkpoint $([ -d build-fuzz/found/checkpoint ] && echo build-fuzz/found/checkpoint) 2>build-fuzz/coverage.log
  llvm-profdata-14 merge -o build-fuzz/coverage.profdata build-fuzz/coverage.profraw
  llvm-cov-14 report -instr-profile build-fuzz/coverage.profdata build-fuzz/tests/fuzz/checkpoint_fuzz | awk '
    /^formats\// { print $1, "regions", $4, "lines", $10; regions += $2; not_regions += $3; lines += $8; not_lines += $9 }
    END { printf "formats: %.1f %% of %d regions, %.1f %% of %d lines\n", 100 - 100 * not_regions / regions, regions, 100 - 100 * not_lines / lines, lines }'
  exit
fi

failed=0
for target in "${targets[@]}"; do
  corpus=tests/fuzz/corpus/$target found=build-fuzz/found/$target
  mkdir -p "$found"
  if [ "$runs" = --merge ]; then
    build-fuzz/tests/fuzz/"$target"_fuzz -merge=1 "$corpus" "$found"
    continue
  fi
  echo "== $target"
  build-fuzz/tests/fuzz/"$target"_fuzz -runs="$runs" -dict=tests/fuzz/"$target".dict -max_len=16384 -timeout=20 -rss_limit_mb=4096 \
    -print_final_stats=1 -artifact_prefix=build-fuzz/"$target".crash- "$found" "$corpus" 2>"build-fuzz/$target.log" || failed=1
  grep -E "^#[0-9]+.*DONE|stat::number_of_executed|broken:|ERROR|SUMMARY" "build-fuzz/$target.log" || true
done
exit "$failed"
