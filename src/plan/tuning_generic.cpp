// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Any other CPU with AVX-512 BF16 (Intel since Cooper Lake, AMD to come): tiles that suit both known designs.
#include "src/plan/tuning_tables.h"

namespace zenwoq {
namespace {

constexpr bool kL1 = false;

constexpr TileTuning kTiles[] = {
    // strips, decode first, share x, prefetch: bytes ahead, every n-th line, into
    {4, {false, false, {2048, 1, kL1}}},  // 1 row
    {4, {true, true, {2048, 1, kL1}}},    // 2 rows
    {4, {true, true, {2048, 1, kL1}}},
    {4, {true, true, {2048, 1, kL1}}},
    {4, {true, true, {}}},
    {4, {true, true, {}}},
    {2, {true, true, {}}},
    {2, {true, true, {}}},
};

}  // namespace

const CpuTuning kGenericAvx512Bf16 = {
    .name = "generic",
    .tier = ZENWOQ_TIER_AVX512BF16,
    .tiles = kTiles,
};

}  // namespace zenwoq
