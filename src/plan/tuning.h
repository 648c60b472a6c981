// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What a CPU model prefers: tiles and habits of its kernels. Features decide what may run, never this table; no entry
// changes a bit of a result. One file per CPU: tuning_zen4.cpp, tuning_zen5.cpp, tuning_generic.cpp.
#pragma once

#include <array>
#include <cstdint>

#include "registry/kernel_key.h"

namespace zenwoq {

inline constexpr std::uint32_t kMaxTileRows = 12;

struct CpuTuning {
  // strips_for[rows]: how many strips a tile of that many rows takes, 1 <= rows <= max_rows.
  std::array<std::uint8_t, kMaxTileRows + 1> strips_for;
  std::uint32_t max_rows;        // larger M is cut into equal blocks of at most this many rows
  bool broadcast_once;           // x pairs go to a register that all strips share, not into each dot product's operand
  std::uint32_t prefetch_rows;   // tiles of at most this many rows prefetch codes ...
  std::uint32_t prefetch_bytes;  // ... this far ahead
  std::uint32_t unrolled_dots;   // dot products a loop body may have: steps are unrolled by a power of two
};

extern const CpuTuning kTuningZen4;
extern const CpuTuning kTuningZen5;
extern const CpuTuning kTuningGeneric;

inline const CpuTuning& tuning_of(Tuning tuning) {
  return tuning == Tuning::zen4 ? kTuningZen4 : tuning == Tuning::zen5 ? kTuningZen5 : kTuningGeneric;
}

}  // namespace zenwoq
