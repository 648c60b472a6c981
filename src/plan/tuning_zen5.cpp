// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Zen 5 (512-bit datapath, two dot products a cycle at latency 6): twelve accumulators or more, and x pairs broadcast
// once, since a broadcast operand slows each dot product from 0.50 to 0.58 cycles. One row alone has too few chains in
// one panel, so it takes two neighbouring panels at once.
#include "src/plan/tuning_tables.h"

namespace zenwoq {
namespace {

constexpr bool kL1 = false;

constexpr TileTuning kTiles[] = {
    // strips, decode first, share x, prefetch: bytes ahead, every n-th line, into
    {8, {false, false, {4096, 1, kL1}}},  // 1 row
    {4, {true, true, {4096, 1, kL1}}},    // 2 rows
    {4, {true, true, {4096, 1, kL1}}},
    {4, {true, true, {4096, 1, kL1}}},
    {4, {true, true, {}}},
    {4, {true, true, {}}},
    {2, {true, true, {}}},
    {2, {true, true, {}}},
    {2, {true, true, {}}},
    {2, {true, true, {}}},
    {2, {true, true, {}}},
    {2, {true, true, {}}},
};

}  // namespace

const CpuTuning kZen5Avx512Bf16 = {
    .name = "zen5",
    .tier = ZENWOQ_TIER_AVX512BF16,
    .tiles = kTiles,
};

}  // namespace zenwoq
