// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The vector registers of the AVX-512 kernel, by role.
#pragma once

#include <xbyak/xbyak.h>

#include <vector>

#include "jit/jit.h"
#include "jit/key.h"

namespace zenwoq {

// Which zmm register holds what: a pure function of the key. Accumulators and totals hold one vector per row and strip;
// the other registers serve in scopes that never overlap: `begin` a unit, `multiply`, `flush`, `epilogue`.
class Avx512Registers {
 public:
  explicit Avx512Registers(const KernelKey& key);

  bool fits() const { return scratch_ < kRegisters && kRegisters - scratch_ >= need_; }
  bool totals_in_memory() const { return totals_ == Totals::memory; }
  bool totals_in_registers() const { return totals_ == Totals::registers; }
  bool codes_in_registers() const { return codes_; }
  bool shares_x() const { return share_x_; }  // one broadcast of an x pair for all strips, not one in each dot product

  Xbyak::Zmm table() const { return Xbyak::Zmm(kRegisters - 1); }
  Xbyak::Zmm acc(std::uint32_t r, std::uint32_t s) const { return zmm(r * strips_ + s); }
  Xbyak::Zmm total(std::uint32_t r, std::uint32_t s) const { return zmm((rows_ + r) * strips_ + s); }
  // scope begin
  Xbyak::Xmm x_tail() const { return Xbyak::Xmm(scratch(0).getIdx()); }  // the last activations of one row
  Xbyak::Zmm nothing() const { return scratch(1); }                      // +0, where totals are in memory
  // scope multiply
  Xbyak::Zmm weight(std::uint32_t i) const { return scratch(i); }  // pair (k, k+1) of a strip, decoded to bf16
  Xbyak::Zmm x_pair() const { return scratch(weights_); }          // one row's (k, k+1) in all lanes
  Xbyak::Zmm codes(std::uint32_t s) const { return scratch(weights_ + 1 + s); }
  // scope flush
  Xbyak::Zmm scale() const { return scratch(0); }
  Xbyak::Zmm zero() const { return scratch(1); }       // 8 - zero, or the offset
  Xbyak::Zmm plus_zero() const { return scratch(2); }  // +0, where there is a single group
  // scope epilogue
  Xbyak::Zmm value() const { return scratch(2); }  // a total that comes from memory
  std::vector<Xbyak::Zmm> free_in_epilogue() const;

  std::vector<RegisterUse> uses(const KernelKey& key) const;

 private:
  enum class Totals { none, registers, memory };  // none: a single group needs no running total
  static constexpr std::uint32_t kRegisters = 32;
  static Xbyak::Zmm zmm(std::uint32_t i) { return Xbyak::Zmm(static_cast<int>(i)); }
  Xbyak::Zmm scratch(std::uint32_t i) const { return zmm(scratch_ + i); }

  std::uint32_t rows_, strips_;
  Totals totals_ = Totals::none;
  bool share_x_ = false;
  bool codes_ = true;
  std::uint32_t weights_;      // decoded vectors alive at once
  std::uint32_t scratch_ = 0;  // first register after accumulators and totals
  std::uint32_t need_ = 0;     // scratch registers of the widest scope, and the table
};

}  // namespace zenwoq
