// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// How a run is cut: M into equal blocks of rows, rows x panels into tasks for the threads. No cut changes a bit.
#pragma once

#include <algorithm>
#include <cstdint>

#include "jit/tuning.h"

namespace zenwoq {

// M rows as equal blocks: the first `longer` blocks have rows + 1 rows, the others `rows`.
struct RowBlocks {
  std::uint64_t count = 0;
  std::uint64_t rows = 0;
  std::uint64_t longer = 0;

  std::uint64_t begin(std::uint64_t block) const { return block * rows + std::min(block, longer); }
};

// A task is some blocks times some panels.
struct TaskGrid {
  std::uint64_t block_parts = 1;
  std::uint64_t panel_parts = 1;

  std::uint64_t count() const { return block_parts * panel_parts; }
};

RowBlocks cut_rows(std::uint64_t m, const CpuTuning& tuning);

// Strips of the tile for a block of `rows`, where `panels` panels follow each other.
std::uint32_t strips_of(std::uint64_t rows, std::uint64_t panels, const CpuTuning& tuning);

// How many blocks visit all panels together, where a row of activations has `row_bytes`; at least 1.
std::uint64_t blocks_that_stay(const RowBlocks& blocks, std::uint64_t row_bytes, const CpuTuning& tuning);

// `macs` multiply-adds in all: runs too short to be worth waking a thread stay whole.
TaskGrid cut_tasks(const RowBlocks& blocks, std::uint64_t panels, std::uint64_t macs, unsigned threads);

// Part `i` of `parts` equal parts of [0, count), its border a multiple of `grain`.
inline std::uint64_t part_border(std::uint64_t count, std::uint64_t i, std::uint64_t parts, std::uint64_t grain) {
  const std::uint64_t grains = (count + grain - 1) / grain;
  return std::min(count, (grains * i + parts - 1) / parts * grain);
}

}  // namespace zenwoq
