// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the activation functions, one source for AVX-512 and AVX2: what src/reference/activation.h computes, bit
// for bit.
#pragma once

#include <cstdint>
#include <span>

#include "jit/activation.h"
#include "jit/emitter.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

class ActivationMath {
 public:
  enum class Width { ymm, zmm };  // of every register that is passed; zmm takes AVX-512 F and DQ, ymm AVX2 and FMA

  // The kernel's frame must be open: the functions are for its MXCSR.
  ActivationMath(Emitter& emitter, Width width) : e_(emitter), width_(width) {}

  // How many vectors apply, or swiglu_oai, takes as temps; at most 7.
  static std::uint32_t temps_needed(zenwoq_activation activation);

  // v = activation(v) in each lane; any activation but SWIGLU_OAI. clobbers: temps, k2 if zmm.
  void apply(zenwoq_activation activation, const Xbyak::Xmm& v, std::span<const Xbyak::Xmm> temps);
  // gate = SWIGLU_OAI of (gate, up) in each lane. clobbers: up, temps, k2 if zmm.
  void swiglu_oai(const Xbyak::Xmm& gate, const Xbyak::Xmm& up, std::span<const Xbyak::Xmm> temps);

 private:
  struct Registers;

  void relu(const Xbyak::Xmm& v, const Registers& r);
  void silu(const Xbyak::Xmm& v, const Registers& r);
  void gelu(const Xbyak::Xmm& v, const Registers& r);
  void gelu_tanh(const Xbyak::Xmm& v, const Registers& r);
  void limit_and_square(const Xbyak::Xmm& v, float limit, const Registers& r);
  void times_sigmoid(const Xbyak::Xmm& v, const Xbyak::Xmm& c, const Xbyak::Operand& w, const Xbyak::Operand& w_low,
                     float limit, const Registers& r);
  void divide(const Xbyak::Xmm& v, const Xbyak::Xmm& denominator, float limit, const Xbyak::Xmm& mask);

  // high + low = a * b + number, low being the rounding of high.
  void sum_of_two(const Xbyak::Xmm& high, const Xbyak::Xmm& low, const Xbyak::Xmm& a, const Xbyak::Operand& b,
                  float number, const char* text);
  // The same number in all lanes: as an operand, or loaded.
  Xbyak::Address operand(float value, const char* text);
  void load(const Xbyak::Xmm& to, float value, const char* text);

  Emitter& e_;
  const Width width_;
};

}  // namespace zenwoq
