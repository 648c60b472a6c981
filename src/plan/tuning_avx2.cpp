// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The tier avx2 on every CPU: 16 registers and two FMAs a cycle leave little to choose. Eight accumulators hide an
// FMA's latency; what is left holds the decoder's constants.
#include "jit/gemm_args.h"
#include "src/plan/tuning_tables.h"

namespace zenwoq {
namespace {

constexpr TileTuning kTiles[] = {
    // strips, decode first, share x, prefetch: bytes ahead, every n-th line, into
    {4, {false, false, {4096, 1, false}}}, {2, {false, false, {8192, 1, true}}}, {4, {false, false, {8192, 1, true}}},
    {1, {false, false, {8192, 1, true}}},  {1, {false, false, {8192, 1, true}}},
};

constexpr CpuTuning avx2_table(const char* name) {
  return {
      .name = name,
      .tier = ZENWOQ_TIER_AVX2,
      .tiles = kTiles,
      .x_bytes_kept = 4 << 20,
      .scratch_from = 11,
      .scratch_rows = kMaxScratchRows,
      .scratch_tile_rows = 6,
      .scratch_habits = {.prefetch = {4096, 1, true}},
  };
}

}  // namespace

const CpuTuning kZen2Avx2 = avx2_table("zen2");
const CpuTuning kZen3Avx2 = avx2_table("zen3");
const CpuTuning kZen4Avx2 = avx2_table("zen4");
const CpuTuning kZen5Avx2 = avx2_table("zen5");
const CpuTuning kGenericAvx2 = avx2_table("generic");

}  // namespace zenwoq
