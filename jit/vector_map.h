// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The vector registers of the AVX-512 kernel, by role.
#pragma once

#include <xbyak/xbyak.h>

#include "jit/key.h"
#include "jit/tuning.h"

namespace zenwoq {

// Which zmm register holds what: a pure function of the key. Accumulators and totals hold one vector a row and strip;
// the other registers serve in two scopes, `multiply` and `flush`, that never overlap.
class VectorMap {
 public:
  explicit VectorMap(const KernelKey& key);

  bool fits() const { return scratch_ < 32 && 32 - scratch_ >= need_; }
  bool totals_in_memory() const { return totals_ == Totals::memory; }
  bool totals_in_registers() const { return totals_ == Totals::registers; }
  bool codes_in_registers() const { return codes_; }
  bool decodes_first() const { return decode_first_; }  // all strips before their dot products, not two vectors in turn
  std::uint32_t weights() const { return weights_; }    // decoded vectors alive at once
  bool shares_x() const { return share_x_; }  // one broadcast of an x pair for all strips, not one in each dot product

  Xbyak::Zmm table() const { return Xbyak::Zmm(31); }
  Xbyak::Zmm acc(std::uint32_t r, std::uint32_t s) const { return Xbyak::Zmm(static_cast<int>(r * strips_ + s)); }
  Xbyak::Zmm total(std::uint32_t r, std::uint32_t s) const {
    return Xbyak::Zmm(static_cast<int>((rows_ + r) * strips_ + s));
  }
  // scope multiply
  Xbyak::Zmm weight(std::uint32_t i) const { return scratch(i); }  // pair (k, k+1) of a strip, decoded to bf16
  Xbyak::Zmm x_pair() const { return scratch(weights_); }          // one row's (k, k+1) in all lanes
  Xbyak::Zmm codes(std::uint32_t s) const { return scratch(weights_ + 1 + s); }
  // scope flush, and the epilogue
  Xbyak::Zmm scale() const { return scratch(0); }
  Xbyak::Zmm zero() const { return scratch(1); }    // 8 - zero, or the offset, or plain +0
  Xbyak::Zmm result() const { return scratch(2); }  // epilogue: totals that come from memory

 private:
  enum class Totals { none, registers, memory };  // none: a single group needs no running total
  Xbyak::Zmm scratch(std::uint32_t i) const { return Xbyak::Zmm(static_cast<int>(scratch_ + i)); }

  std::uint32_t rows_, strips_;
  Totals totals_ = Totals::none;
  bool share_x_ = false;
  bool decode_first_ = false;
  bool codes_ = true;
  std::uint32_t weights_;      // decoded vectors alive at once
  std::uint32_t scratch_ = 0;  // first register behind accumulators and totals
  std::uint32_t need_ = 0;     // scratch registers, the table included
};

}  // namespace zenwoq
