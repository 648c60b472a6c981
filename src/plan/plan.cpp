// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Makes plans: the only place that chooses tiles.
#include "src/plan/plan.h"

namespace zenwoq {
namespace {

constexpr std::uint64_t kMacsWorthWaking = 1 << 19;  // about 5 us of one core
constexpr std::uint32_t kScratchStrips = 2;          // what kernels with scratch decode at a time, of both weights
constexpr std::uint64_t kTasksPerThread = 4;         // so that a slow core holds nobody up for long
constexpr std::uint64_t kTasksOfSeveral = 8;  // a thread; tasks of products of several sizes do not fit each other
constexpr double kRowsOfReading = 8.0;        // reading a weight costs about what so many rows' products do

// What a product takes, in products of a row: few rows wait for memory.
double cost_of(const Problem& problem) {
  const double weights = problem.gated ? 2.0 : 1.0;
  return weights * static_cast<double>(problem.n) * static_cast<double>(problem.k) *
         (static_cast<double>(problem.m) + kRowsOfReading);
}

}  // namespace

RowBlocks cut_rows(std::uint64_t m, const CpuTuning& tuning) {
  if (m == 0) return {};
  RowBlocks blocks;
  const bool scratch = tuning.scratch_from != 0 && m >= tuning.scratch_from;
  const std::uint64_t max_rows = m <= 2 * tuning.small_rows ? tuning.small_rows
                                 : scratch                  ? tuning.scratch_rows
                                                            : tuning.max_rows();
  blocks.count = m / max_rows + (m % max_rows != 0);
  blocks.rows = m / blocks.count;
  blocks.longer = m % blocks.count;
  return blocks;
}

std::uint64_t blocks_that_stay(const RowBlocks& blocks, std::uint64_t row_bytes, const CpuTuning& tuning) {
  if (tuning.x_bytes_kept == 0) return std::max<std::uint64_t>(blocks.count, 1);
  return std::max<std::uint64_t>(tuning.x_bytes_kept / row_bytes / std::max<std::uint64_t>(blocks.rows, 1), 1);
}

std::uint64_t tasks_wanted(const Problem& problem, unsigned threads) {
  // An estimate: overflow only means fewer tasks.
  const std::uint64_t macs = problem.m * problem.n * problem.k * (problem.gated ? 2 : 1);
  return threads <= 1 || macs < kMacsWorthWaking ? 1 : threads * kTasksPerThread;
}

void TaskShares::add(const Problem& problem) {
  macs_ += static_cast<double>(problem.m) * static_cast<double>(problem.n) * static_cast<double>(problem.k) *
           (problem.gated ? 2 : 1);
  cost_ += cost_of(problem);
}

unsigned TaskShares::threads(unsigned most) const { return macs_ < static_cast<double>(kMacsWorthWaking) ? 1 : most; }

std::uint64_t TaskShares::of(const Problem& problem, unsigned threads) const {
  if (this->threads(threads) <= 1) return 1;
  const double share = static_cast<double>(threads * kTasksOfSeveral) * cost_of(problem) / cost_;
  return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(share + 0.5));
}

Plan::Plan(const Problem& problem, const CpuTuning& tuning, std::uint64_t tasks)
    : panels_((problem.n + kPanelColumns - 1) / kPanelColumns), blocks_(cut_rows(problem.m, tuning)) {
  if (blocks_.count == 0) return;
  if (blocks_.count > 1) {
    blocks_kept_ = blocks_that_stay(blocks_, problem.k * dtype_bytes(find_tier(tuning.tier)->x_type), tuning);
  }
  longer_ = blocks_.longer == 0 ? Choice{} : choose(blocks_.rows + 1, problem.gated, tuning);
  shorter_ = choose(blocks_.rows, problem.gated, tuning);
  panel_grain_ = tiles_[shorter_.wide].panels();
  if (tasks <= 1) return;
  const std::uint64_t grains = (panels_ + panel_grain_ - 1) / panel_grain_;
  panel_parts_ = std::min(grains, tasks);
  if (panel_parts_ < tasks) block_parts_ = std::min(blocks_.count, (tasks + grains - 1) / grains);
}

// Tiles of two panels serve a single block only: several blocks go panel by panel.
Plan::Choice Plan::choose(std::uint64_t rows, bool gated, const CpuTuning& tuning) {
  const auto add = [this](const Tile& tile) {
    const auto end = tiles_.begin() + static_cast<std::ptrdiff_t>(tile_count_);
    const auto found = std::find(tiles_.begin(), end, tile);
    if (found == end) tiles_.at(tile_count_++) = tile;
    return static_cast<std::size_t>(found - tiles_.begin());
  };
  if (rows > tuning.max_rows()) {
    const std::uint64_t tiles = (rows + tuning.scratch_tile_rows - 1) / tuning.scratch_tile_rows;
    const std::uint32_t strips = gated ? kScratchStrips / 2 : kScratchStrips;
    const std::size_t tile = add({static_cast<std::uint32_t>((rows + tiles - 1) / tiles), strips, true, gated});
    return {tile, tile};
  }
  const std::uint32_t strips = tuning.tiles[rows - 1].strips;
  const auto height = static_cast<std::uint32_t>(rows);
  const Tile narrow{height, std::min<std::uint32_t>(strips, kPanelStrips), false, gated};
  const bool wide = strips > kPanelStrips && blocks_.count == 1 && panels_ >= 2;
  Choice choice;
  choice.wide = add(wide ? Tile{height, strips, false, gated} : narrow);
  choice.narrow = wide && panels_ % 2 != 0 ? add(narrow) : choice.wide;
  return choice;
}

KernelKey kernel_key(const Quantization& weight, bool integer, zenwoq_dtype output_type, const Epilogue& epilogue,
                     const Tile& tile, const CpuTuning& tuning) {
  return {
      .codes = integer && find_tier(tuning.tier)->integers ? Codes::integer : Codes::table,
      .group = weight.group(),
      .k = weight.k,
      .scale_type = weight.scale_type,
      .zero_kind = weight.zero_kind,
      .zero_type = weight.zero_type,
      .tile = tile,
      .output_type = output_type,
      .epilogue = epilogue,
      .tier = tuning.tier,
      .habits = tile.scratch ? tuning.scratch_habits : tuning.tiles[tile.rows - 1].habits,
  };
}

}  // namespace zenwoq
