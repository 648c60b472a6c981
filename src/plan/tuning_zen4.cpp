// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Zen 4 (256-bit datapath: a zmm operation holds a pipe for two cycles). Measured on an EPYC of family 19h model 11h at
// N = K = 4096, weights cold in huge pages, groups of 32 and 128:
//
// - Tiles of four strips read a panel as one stream, so they suit weights that come from memory; their totals are in
//   memory from three rows on. Tiles of two strips with totals in registers are better once the panel is in the L2
//   cache, that is from the second block of rows on (7x2: 97 % of the roof at M = 32, 4x4 94 to 95 %).
// - Prefetching into L1 takes bandwidth from one row (84 % of the best read loop, 92 % without); every second line into
//   L2 adds a little (95 %). Two and three rows want every line, further ahead.
// - Which pipe an instruction waits for is decided where it enters the scheduler, so with one or two rows its
// neighbours
//   matter. Two rows, codes in the L1 cache, cycles for 64 bytes: 8.0 or 9.9 by chance where each strip is decoded and
//   multiplied in turn; 8.0, the peak of the dot products, where all strips are decoded first (16 alignments of the
//   loop).
// - Activations of half the L2 cache stay while their rows visit all panels: M = 2048 goes from 95.2 to 97.9 %, and K =
// 14336,
//   M = 512 from 96.3 to 98.0 %. From 256 to 1536 KiB make no difference.
#include "src/plan/tuning_tables.h"

namespace zenwoq {
namespace {

constexpr bool kL2 = true, kL1 = false;

constexpr TileTuning kTiles[] = {
    // strips, decode first, share x, prefetch: bytes ahead, every n-th line, into
    {4, {true, false, {4096, 2, kL2}}},   // 1 row
    {4, {true, false, {12288, 1, kL2}}},  // 2 rows
    {4, {false, false, {8192, 1, kL2}}}, {4, {false, false, {4096, 1, kL1}}}, {2, {false, false, {4096, 1, kL1}}},
    {2, {false, false, {4096, 1, kL1}}}, {2, {false, false, {4096, 1, kL1}}},
};

}  // namespace

const CpuTuning kZen4Avx512Bf16 = {
    .name = "zen4",
    .tier = ZENWOQ_TIER_AVX512BF16,
    .tiles = kTiles,
    .small_rows = 4,
    .x_bytes_kept = 512 << 10,
};

}  // namespace zenwoq
