// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The budget of 32 vector registers: accumulators first, then totals and codes where they fit.
#include "jit/avx512_registers.h"

#include <algorithm>

#include "jit/epilogue_avx512.h"

namespace zenwoq {

Avx512Registers::Avx512Registers(const KernelKey& key) : rows_(key.tile.rows), strips_(key.tile.strips) {
  share_x_ = rows_ == 1 || key.habits.share_x;
  weights_ = key.habits.decode_first ? strips_ : 2;
  const std::uint32_t tile = rows_ * strips_;
  const std::uint32_t multiply = weights_ + 1;  // and the x pair
  const std::uint32_t flush = 3;
  // And the total. A long epilogue has all registers but the table's.
  const std::uint32_t epilogue = key.long_epilogue() ? 0 : 1 + EpilogueAvx512::registers_needed(key.epilogue);
  const std::uint32_t least = std::max({multiply, flush, epilogue}) + 1;  // and the table
  if (key.groups() > 1) totals_ = 2 * tile + least <= kRegisters ? Totals::registers : Totals::memory;
  scratch_ = totals_ == Totals::registers ? 2 * tile : tile;
  codes_ = scratch_ + least + strips_ <= kRegisters;
  need_ = least + (codes_ ? strips_ : 0);
}

// All scratch registers but that of a loaded total, and the accumulators where the totals are elsewhere.
std::vector<Xbyak::Zmm> Avx512Registers::free_in_epilogue() const {
  std::vector<Xbyak::Zmm> free;
  for (std::uint32_t i = scratch_; i < kRegisters - 1; ++i) {
    if (zmm(i) != value()) free.push_back(zmm(i));
  }
  for (std::uint32_t i = 0; totals_ != Totals::none && i < rows_ * strips_; ++i) free.push_back(zmm(i));
  return free;
}

std::vector<RegisterUse> Avx512Registers::uses(const KernelKey& key) const {
  std::vector<RegisterUse> uses;
  const auto use = [&](const char* scope, const char* role, const Xbyak::Reg& at) {
    uses.push_back({scope, role, at.toString()});
  };
  const auto words = [&](const char* scope, const char* role, const char* text) {
    uses.push_back({scope, role, text});
  };
  const auto sums = [&](const char* role, auto&& at) {
    for (std::uint32_t row = 0; row < rows_; ++row) {
      for (std::uint32_t strip = 0; strip < strips_; ++strip) {
        uses.push_back({"", role, at(row, strip).toString(), static_cast<int>(row), static_cast<int>(strip)});
      }
    }
  };
  sums("acc", [this](std::uint32_t r, std::uint32_t s) { return acc(r, s); });
  if (totals_in_registers()) sums("total", [this](std::uint32_t r, std::uint32_t s) { return total(r, s); });
  if (totals_in_memory()) words("", "total", "in memory");
  if (totals_ == Totals::none) words("", "total", "acc, as there is a single group");
  for (std::uint32_t i = 0; i < weights_; ++i) use("multiply", "weight", weight(i));
  if (share_x_) use("multiply", "x pair", x_pair());
  if (!share_x_) words("multiply", "x pair", "broadcast operand of the dot product");
  for (std::uint32_t s = 0; codes_ && s < strips_; ++s) use("multiply", "codes", codes(s));
  if (!codes_) words("multiply", "codes", "memory operand");
  use("flush", "scale", scale());
  if (key.zero_kind != ZENWOQ_ZERO_NONE) use("flush", "zero", zero());
  if (key.long_epilogue()) words("epilogue", "total", "in memory, row after row; all registers but the table's serve");
  if (!key.long_epilogue() && totals_in_memory()) use("epilogue", "total", value());
  if (!key.long_epilogue() && key.epilogue.bias)
    use("epilogue", "bias", EpilogueAvx512::bias_register(free_in_epilogue()));
  use("", "table", table());
  return uses;
}

}  // namespace zenwoq
