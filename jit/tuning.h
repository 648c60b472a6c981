// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What a CPU model prefers: tiles and habits of its kernels. Features decide what may run, never this table; no entry
// changes a bit of a result. One file per CPU: tuning_zen4.cpp, tuning_zen5.cpp, tuning_generic.cpp.
#pragma once

#include <array>
#include <cstdint>

#include "jit/key.h"

namespace zenwoq {

inline constexpr std::uint32_t kMaxTileRows = 12;

// Codes that a kernel asks for before it needs them. Never beyond what it saves: one too many costs bandwidth.
struct Prefetch {
  std::uint32_t bytes = 0;  // this far ahead, in whole groups where they are short; 0 = not at all
  std::uint32_t lines = 1;  // every n-th cache line, the hardware takes the others along
  bool to_l2 = false;       // not into L1: the hardware's own prefetchers do that part
};

struct CpuTuning {
  // strips_for[rows]: how many strips a tile of that many rows takes, 1 <= rows <= max_rows.
  std::array<std::uint8_t, kMaxTileRows + 1> strips_for;
  std::uint32_t max_rows;        // larger M is cut into equal blocks of at most this many rows
  bool broadcast_once;           // x pairs go to a register that all strips share, not into each dot product's operand
  std::uint32_t prefetch_rows;   // tiles of at most this many rows prefetch codes ...
  std::uint32_t prefetch_bytes;  // ... this far ahead
  std::uint32_t unrolled_dots;   // dot products a loop body may have: steps are unrolled by a power of two
  std::uint32_t small_rows = 0;  // M up to twice this is cut into blocks of at most this many rows; 0 = as larger M
  std::array<Prefetch, 4> prefetch_few = {};  // tiles of 1, 2 and 3 rows instead of the above, where bytes are given
  // Rows whose activations together have at most this many bytes visit all panels before the next rows do; 0 = all rows
  // visit a panel before the next panel.
  std::uint64_t x_bytes_kept = 0;
  std::uint32_t decode_first_rows = 0;  // tiles of at most this many rows decode all strips, then multiply

  Prefetch prefetch_for(std::uint32_t rows) const {
    if (rows < prefetch_few.size() && prefetch_few[rows].bytes != 0) return prefetch_few[rows];
    return {rows <= prefetch_rows ? prefetch_bytes : 0, 1, false};
  }
};

extern const CpuTuning kTuningZen4;
extern const CpuTuning kTuningZen5;
extern const CpuTuning kTuningGeneric;

inline const CpuTuning& tuning_of(Tuning tuning) {
  return tuning == Tuning::zen4 ? kTuningZen4 : tuning == Tuning::zen5 ? kTuningZen5 : kTuningGeneric;
}

}  // namespace zenwoq
