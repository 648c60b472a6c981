// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Scales, zero points and offsets of a group in ymm registers, 8 columns each, and what they do to the group's sums.
#pragma once

#include "jit/emitter.h"
#include "jit/parameters.h"

namespace zenwoq {

class ParametersAvx2 {
 public:
  ParametersAvx2(Emitter& emitter, const ParameterFormat& format) : e_(emitter), format_(format) {}

  // supers: f32 that scales of two levels are multiplied with.
  void load_scales(const Xbyak::Ymm& to, const Xbyak::RegExp& from, const Xbyak::RegExp& supers);
  // 8 - zero, the zero points or the offsets, if there are any.
  void load_zeros(const Xbyak::Ymm& to, const Xbyak::RegExp& from, const Xbyak::RegExp& supers);
  // total = scale * (acc + (8 - zero) * xsum) + total, or scale * (acc - zero * xsum) + total, or scale * acc + total,
  // then offset * xsum. out: acc. clobbers: xsum.
  void flush(const Xbyak::Ymm& acc, const Xbyak::Ymm& scale, const Xbyak::Ymm& zero, const Xbyak::Ymm& xsum,
             const Xbyak::RegExp& sum_of_x, const Xbyak::Operand& total);
  // 8 f16 at `from` to f32 at `to`. clobbers: temp.
  void widen_f16(const Xbyak::RegExp& from, const Xbyak::RegExp& to, const Xbyak::Ymm& temp);

 private:
  void load_floats(const Xbyak::Ymm& to, zenwoq_dtype type, const Xbyak::RegExp& from);

  Emitter& e_;
  const ParameterFormat format_;
};

}  // namespace zenwoq
