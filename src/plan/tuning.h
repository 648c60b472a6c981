// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What a CPU model prefers: tiles and habits of its kernels. Features decide what may run, never these tables; no entry
// changes a bit of a result. One table for each (CPU, tier), in one file per CPU: tuning_zen4.cpp and so on.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "jit/key.h"

namespace zenwoq {

// A tile of one height: how wide it is, and how its kernel goes about its work.
struct TileTuning {
  std::uint32_t strips;
  Habits habits;
};

struct CpuTuning {
  const char* name;  // "zen4"
  zenwoq_tier tier;
  std::span<const TileTuning> tiles;  // [rows - 1]; larger M is cut into equal blocks of at most this many rows
  std::uint32_t small_rows = 0;  // M up to twice this is cut into blocks of at most this many rows; 0 = as larger M
  // Rows whose activations together have at most this many bytes visit all panels before the next rows do; 0 = all rows
  // visit a panel before the next panel.
  std::uint64_t x_bytes_kept = 0;

  // From this M on (0: never) codes are decoded to scratch: for blocks of at most scratch_rows rows, in tiles of at
  // most scratch_tile_rows.
  std::uint32_t scratch_from = 0, scratch_rows = 0, scratch_tile_rows = 0;
  Habits scratch_habits = {};

  std::uint32_t max_rows() const { return static_cast<std::uint32_t>(tiles.size()); }
};

// Of every CPU and tier.
std::span<const CpuTuning* const> tunings();

// The table of a CPU for a tier; the generic one of that tier where the CPU has none. The reference is cut as the best
// tier's kernels are.
const CpuTuning& find_tuning(std::string_view name, zenwoq_tier tier);

bool is_tuning(std::string_view name);
std::string tuning_names();  // "zen4, zen5 or generic": for error texts

}  // namespace zenwoq
