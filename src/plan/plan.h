// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// How a product is cut: M into equal blocks of rows, rows x panels into tasks for the threads, a task into tiles that a
// kernel computes. A plan is a value: run, prepare, inspection and tools walk the same one, and several products can be
// planned at once. No cut changes a bit of a result.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "jit/tier.h"
#include "src/plan/tuning.h"
#include "src/weight/quantization.h"

namespace zenwoq {

// y[M,N] = x[M,K] * W[N,K]^T; gated: of two such products.
struct Problem {
  std::uint64_t m, n, k;
  bool gated = false;
};

// Into how many tasks a run on `threads` threads is cut, where it is not too small for them.
std::uint64_t tasks_wanted(const Problem& problem, unsigned threads);

// Into how many tasks each of several products in one loop is cut, by its work: more than it would be alone.
class TaskShares {
 public:
  void add(const Problem& problem);
  std::uint64_t of(const Problem& problem, unsigned threads) const;  // at least 1
  // How many of the threads the whole is worth waking.
  unsigned threads(unsigned most) const;

 private:
  double macs_ = 0.0, cost_ = 0.0;  // of all
};

// M rows as equal blocks: the first `longer` blocks have rows + 1 rows, the others `rows`.
struct RowBlocks {
  std::uint64_t count = 0;
  std::uint64_t rows = 0;
  std::uint64_t longer = 0;

  std::uint64_t begin(std::uint64_t block) const { return block * rows + std::min(block, longer); }
};

// One call of a kernel: `rows` rows from `row` on, times panels [panel_begin, panel_end). rows is tile.rows, but for
// kernels with scratch, which take any number of rows.
struct TileRun {
  std::uint64_t row, rows;
  std::uint64_t panel_begin, panel_end;
  Tile tile;
  std::size_t index;  // of the tile in Plan::tiles()
};

class Plan {
 public:
  Plan(const Problem& problem, const CpuTuning& tuning, std::uint64_t tasks);

  // Tasks may run at once and in any order. 0 for M = 0.
  std::uint64_t tasks() const { return blocks_.count == 0 ? 0 : block_parts_ * panel_parts_; }

  // Calls body(const TileRun&) for every tile of a task: a few blocks on one panel, then on the next, so that the panel
  // stays in the L2 cache from block to block and the blocks' activations from panel to panel.
  template <typename Body>
  void for_each_tile(std::uint64_t task, Body&& body) const;

  // The tiles that for_each_tile can name, without repetition: at most two heights, a wide tile and what it leaves
  // over.
  std::span<const Tile> tiles() const { return {tiles_.data(), tile_count_}; }
  static constexpr std::size_t kMaxTiles = 4;

  const RowBlocks& blocks() const { return blocks_; }

 private:
  struct Choice {
    std::size_t wide, narrow;  // indices of tiles_: for two panels and more, for one
  };
  Choice choose(std::uint64_t rows, bool gated, const CpuTuning& tuning);
  template <typename Body>
  void block_tiles(std::uint64_t block, std::uint64_t panel_begin, std::uint64_t panel_end, Body&& body) const;

  std::uint64_t panels_;
  RowBlocks blocks_;
  std::uint64_t block_parts_ = 1, panel_parts_ = 1;  // a task is a part of the blocks times a part of the panels
  std::uint64_t panel_grain_ = 1;                    // borders of tasks never part two panels that one tile takes
  std::uint64_t blocks_kept_ = 1;                    // blocks whose activations stay in the cache from panel to panel
  std::array<Tile, kMaxTiles> tiles_{};
  std::size_t tile_count_ = 0;
  Choice longer_{}, shorter_{};  // of blocks of rows + 1 and of `rows` rows
};

// The kernel of a tile. The tier is the tuning's. integer: DecodeTable::integer of the weight.
KernelKey kernel_key(const Quantization& weight, bool integer, zenwoq_dtype output_type, const Epilogue& epilogue,
                     const Tile& tile, const CpuTuning& tuning);

RowBlocks cut_rows(std::uint64_t m, const CpuTuning& tuning);

// How many blocks visit all panels together, where a row of activations has `row_bytes`; at least 1.
std::uint64_t blocks_that_stay(const RowBlocks& blocks, std::uint64_t row_bytes, const CpuTuning& tuning);

// Part `i` of `parts` equal parts of [0, count), its border a multiple of `grain`.
inline std::uint64_t part_border(std::uint64_t count, std::uint64_t i, std::uint64_t parts, std::uint64_t grain) {
  const std::uint64_t grains = (count + grain - 1) / grain;
  return std::min(count, (grains * i + parts - 1) / parts * grain);
}

template <typename Body>
void Plan::for_each_tile(std::uint64_t task, Body&& body) const {
  const std::uint64_t block_part = task % block_parts_;
  const std::uint64_t panel_part = task / block_parts_;
  const std::uint64_t block_begin = part_border(blocks_.count, block_part, block_parts_, 1);
  const std::uint64_t block_end = part_border(blocks_.count, block_part + 1, block_parts_, 1);
  const std::uint64_t panel_begin = part_border(panels_, panel_part, panel_parts_, panel_grain_);
  const std::uint64_t panel_end = part_border(panels_, panel_part + 1, panel_parts_, panel_grain_);
  if (block_end - block_begin == 1) return block_tiles(block_begin, panel_begin, panel_end, body);
  for (std::uint64_t first = block_begin, last; first < block_end; first = last) {
    last = std::min(block_end, first + blocks_kept_);
    for (std::uint64_t panel = panel_begin; panel < panel_end; ++panel) {
      for (std::uint64_t block = first; block < last; ++block) block_tiles(block, panel, panel + 1, body);
    }
  }
}

template <typename Body>
void Plan::block_tiles(std::uint64_t block, std::uint64_t panel_begin, std::uint64_t panel_end, Body&& body) const {
  const Choice& choice = block < blocks_.longer ? longer_ : shorter_;
  while (panel_begin < panel_end) {
    const std::uint64_t panels = panel_end - panel_begin;
    const std::size_t index = panels < 2 ? choice.narrow : choice.wide;
    const std::uint64_t end = panel_end - panels % tiles_[index].panels();
    body(TileRun{blocks_.begin(block), blocks_.begin(block + 1) - blocks_.begin(block), panel_begin, end, tiles_[index],
                 index});
    panel_begin = end;
  }
}

}  // namespace zenwoq
