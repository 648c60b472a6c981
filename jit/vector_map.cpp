// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The budget of 32 vector registers: accumulators first, then totals and codes where they fit.
#include "jit/vector_map.h"

#include <algorithm>

namespace zenwoq {

VectorMap::VectorMap(const KernelKey& key) : rows_(key.tile.rows), strips_(key.tile.strips) {
  const CpuTuning& tuning = tuning_of(key.tuning);
  const bool broadcast_once = rows_ > 1 && strips_ > 1 && tuning.broadcast_once;
  share_x_ = rows_ == 1 || broadcast_once;
  decode_first_ = broadcast_once || rows_ <= tuning.decode_first_rows;
  weights_ = decode_first_ ? strips_ : 2;
  const std::uint32_t tile = rows_ * strips_;
  const std::uint32_t least = std::max(weights_ + 1, 3u) + 1;  // weights, x pair (flush and epilogue: 3), table
  if (key.groups() > 1) totals_ = 2 * tile + least <= 32 ? Totals::registers : Totals::memory;
  scratch_ = totals_ == Totals::registers ? 2 * tile : tile;
  codes_ = scratch_ + least + strips_ <= 32;
  need_ = least + (codes_ ? strips_ : 0);
}

}  // namespace zenwoq
