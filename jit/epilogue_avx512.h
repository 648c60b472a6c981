// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// From the totals of a strip to y, AVX-512: tensor scale, bias, what a long epilogue adds, rounding, masked store.
#pragma once

#include <vector>

#include "jit/epilogue.h"

namespace zenwoq {

class EpilogueAvx512 {
 public:
  // free: vector registers that the epilogue may use from begin_strip to the strip's last store; registers_needed or
  // more.
  EpilogueAvx512(Emitter& emitter, const KernelKey& key, std::vector<Xbyak::Zmm> free);

  static std::uint32_t registers_needed(const Epilogue& epilogue) { return epilogue.bias ? 1 : 0; }
  static Xbyak::Zmm bias_register(const std::vector<Xbyak::Zmm>& free) { return free.at(0); }

  // Lanes below `columns` (1..16) will be stored. out: k1. clobbers: temp.
  void begin_strip(const Xbyak::Reg64& columns, const Xbyak::Reg64& temp);
  // bias: 16 f32 of the strip. Called where the key has a bias.
  void load_bias(const Xbyak::Address& bias);
  // Times the tensor scale, or divided by it, as the key says.
  void scale(const Xbyak::Zmm& total, const Xbyak::Address& tensor_scale);
  // Stores one row's 16 totals. clobbers: total.
  void store(const Xbyak::Zmm& total, const Xbyak::Address& y);
  // All of a long epilogue for one row. clobbers: every vector register but zmm31, temp, k2.
  void finish(const EpilogueRow& row);

 private:
  void load_total(const Xbyak::Zmm& to, const EpilogueRow& row, bool up);
  void load_operand(const Xbyak::Zmm& to, const Xbyak::RegExp& from);
  void round_and_store(const Xbyak::Zmm& value, const Xbyak::Address& y);

  Emitter& e_;
  const KernelKey& key_;
  const std::vector<Xbyak::Zmm> free_;
};

}  // namespace zenwoq
