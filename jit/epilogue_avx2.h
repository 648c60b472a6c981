// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// From the totals of a strip to y, AVX2: tensor scale, bias, what a long epilogue adds, rounding, store. Where columns
// are missing, a row goes by way of the stack, element by element: a masked store may fault on lanes that its mask
// leaves out.
#pragma once

#include <vector>

#include "jit/epilogue.h"

namespace zenwoq {

class EpilogueAvx2 {
 public:
  // free: vector registers that the epilogue may use besides the totals; kRegisters or more.
  EpilogueAvx2(Emitter& emitter, const KernelKey& key, std::vector<Xbyak::Ymm> free);
  static constexpr std::uint32_t kRegisters = 3;
  static constexpr std::uint32_t kStageBytes = 64;  // of the stack, for a row of a strip
  // Where the totals of a long epilogue are, for register maps.
  static constexpr const char* kLongPlace = "in memory, row after row; all registers serve";

  // Times the tensor scale (8 copies), or divided by it, as the key says.
  void scale(const Xbyak::Ymm& low, const Xbyak::Ymm& high, const Xbyak::RegExp& tensor_scales);
  // bias: 16 f32 of the strip. Called where the key has a bias; adds it to both halves. clobbers: none but the totals.
  void add_bias(const Xbyak::Ymm& low, const Xbyak::Ymm& high, const Xbyak::RegExp& bias);
  // Stores one row's 16 totals, of which `columns` (1..16) exist. clobbers: low, high, count, temp, stage.
  void store(const Xbyak::Ymm& low, const Xbyak::Ymm& high, const Xbyak::RegExp& y, const Xbyak::Reg64& columns,
             const Xbyak::Reg64& count, const Xbyak::Reg64& temp, const Xbyak::RegExp& stage);

  // All of a long epilogue for one row. clobbers: every vector register, count, temp, stage.
  void finish(const EpilogueRow& row);

 private:
  void load_total(const Xbyak::Ymm& low, const Xbyak::Ymm& high, const EpilogueRow& row, bool up);
  void load_operand(const Xbyak::Ymm& low, const Xbyak::Ymm& high, const Xbyak::RegExp& from, const EpilogueRow& row);
  void round(const Xbyak::Ymm& value);
  void store_all(const Xbyak::Ymm& low, const Xbyak::Ymm& high, const Xbyak::RegExp& to);

  Emitter& e_;
  const KernelKey& key_;
  const std::vector<Xbyak::Ymm> free_;
};

}  // namespace zenwoq
