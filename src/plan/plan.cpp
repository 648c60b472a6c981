// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Cuts of rows and panels.
#include "src/plan/plan.h"

namespace zenwoq {
namespace {

constexpr std::uint64_t kMacsWorthWaking = 1 << 19;  // about 5 us of one core
constexpr std::uint64_t kTasksPerThread = 4;         // so that a slow core holds nobody up for long

}  // namespace

RowBlocks cut_rows(std::uint64_t m, const CpuTuning& tuning) {
  if (m == 0) return {};
  RowBlocks blocks;
  const std::uint64_t max_rows = m <= 2 * tuning.small_rows ? tuning.small_rows : tuning.max_rows;
  blocks.count = m / max_rows + (m % max_rows != 0);
  blocks.rows = m / blocks.count;
  blocks.longer = m % blocks.count;
  return blocks;
}

std::uint32_t strips_of(std::uint64_t rows, std::uint64_t panels, const CpuTuning& tuning) {
  const std::uint32_t strips = tuning.strips_for[rows];
  return panels < 2 ? std::min(strips, 4u) : strips;
}

std::uint64_t blocks_that_stay(const RowBlocks& blocks, std::uint64_t row_bytes, const CpuTuning& tuning) {
  if (tuning.x_bytes_kept == 0) return std::max<std::uint64_t>(blocks.count, 1);
  return std::max<std::uint64_t>(tuning.x_bytes_kept / row_bytes / std::max<std::uint64_t>(blocks.rows, 1), 1);
}

TaskGrid cut_tasks(const RowBlocks& blocks, std::uint64_t panels, std::uint64_t macs, unsigned threads) {
  if (threads <= 1 || macs < kMacsWorthWaking) return {};
  const std::uint64_t wanted = threads * kTasksPerThread;
  TaskGrid grid;
  grid.panel_parts = std::min(panels, wanted);
  if (grid.panel_parts < wanted) grid.block_parts = std::min(blocks.count, (wanted + panels - 1) / panels);
  return grid;
}

}  // namespace zenwoq
