// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the activation functions. Numbers are memory operands, so that few registers are needed; the one that an
// FMA adds to first is loaded.
#include "jit/activation_math.h"

#include <bit>
#include <cstring>
#include <iterator>

namespace zenwoq {

using namespace activation_constants;
using Xbyak::Operand;
using Xbyak::Xmm;

namespace {

constexpr std::size_t kYmmBytes = 32;
constexpr std::uint8_t kNotLess = 5;  // of vcmpps: true for NaN

constexpr const char* kPowerText[] = {"2^-r: r", "2^-r: r^2", "2^-r: r^3", "2^-r: r^4", "2^-r: r^5", "2^-r: r^6"};
constexpr const char* kGeluText[] = {"gelu: v^3",  "gelu: v^5",  "gelu: v^7",  "gelu: v^9",
                                     "gelu: v^11", "gelu: v^13", "gelu: v^15", "gelu: v^17",
                                     "gelu: v^19", "gelu: v^21", "gelu: v^23", "gelu: v^25"};
static_assert(std::size(kPowerText) == std::size(kPower) && std::size(kGeluText) == std::size(kGelu));
}  // namespace

// Scopes that share a register never overlap.
struct ActivationMath::Registers {
  explicit Registers(std::span<const Xmm> temps) : temps_(temps) {}

  const Xmm& number() const { return temps_[0]; }  // of what comes before the polynomials
  // scope polynomials
  const Xmm& square() const { return temps_[0]; }
  const Xmm& square_excess() const { return temps_[1]; }
  const Xmm& rest() const { return temps_[4]; }  // of gelu's polynomial after its first term; gone before w
  const Xmm& cube() const { return temps_[6]; }
  const Xmm& cube_low() const { return temps_[2]; }
  // scope polynomials and times_sigmoid
  const Xmm& limited() const { return temps_[3]; }  // c
  const Xmm& w() const { return temps_[4]; }
  const Xmm& w_low() const { return temps_[5]; }
  // scope times_sigmoid
  const Xmm& scale() const { return temps_[0]; }      // 2^n, then the mask
  const Xmm& remainder() const { return temps_[1]; }  // r, then the denominator
  const Xmm& power() const { return temps_[2]; }      // (2^-r - 1) / r

 private:
  const std::span<const Xmm> temps_;
};

std::uint32_t ActivationMath::temps_needed(zenwoq_activation activation) {
  switch (activation) {
    case ZENWOQ_ACTIVATION_RELU: return 1;
    case ZENWOQ_ACTIVATION_SWIGLU_OAI: return 3;
    case ZENWOQ_ACTIVATION_SILU: return 4;
    case ZENWOQ_ACTIVATION_GELU_TANH: return 6;
    case ZENWOQ_ACTIVATION_GELU: return 7;
    default: return 0;
  }
}

void ActivationMath::apply(zenwoq_activation activation, const Xmm& v, std::span<const Xmm> temps) {
  const Registers r(temps);
  switch (activation) {
    case ZENWOQ_ACTIVATION_RELU: return relu(v, r);
    case ZENWOQ_ACTIVATION_SILU: return silu(v, r);
    case ZENWOQ_ACTIVATION_GELU: return gelu(v, r);
    case ZENWOQ_ACTIVATION_GELU_TANH: return gelu_tanh(v, r);
    default: return;
  }
}

// vmaxps gives its second operand where that is NaN.
void ActivationMath::relu(const Xmm& v, const Registers& r) {
  e_.note("relu");
  e_.vxorps(r.number(), r.number(), r.number());
  e_.vmaxps(v, r.number(), v);
}

void ActivationMath::silu(const Xmm& v, const Registers& r) {
  e_.note("silu");
  e_.vminps(r.limited(), v, operand(kSilu.limit, "silu: limit"));
  times_sigmoid(v, r.limited(), operand(kSilu.w, "log2(e)"), operand(kSilu.w_low, "log2(e), the rest"), kSilu.limit, r);
}

void ActivationMath::swiglu_oai(const Xmm& gate, const Xmm& up, std::span<const Xmm> temps) {
  const Registers r(temps);
  e_.note("swiglu of gpt-oss");
  load(r.number(), -kOaiLimit, "-7");
  e_.vmaxps(up, r.number(), up);
  load(r.number(), kOaiLimit, "7");
  e_.vminps(up, r.number(), up);
  e_.vminps(gate, r.number(), gate);
  times_sigmoid(gate, gate, operand(kSwigluOai.w, "1.702 log2(e)"),
                operand(kSwigluOai.w_low, "1.702 log2(e), the rest"), kSwigluOai.limit, r);
  e_.vaddps(up, up, operand(1.0f, "1"));
  e_.vmulps(gate, gate, up);
}

void ActivationMath::gelu_tanh(const Xmm& v, const Registers& r) {
  e_.note("gelu with tanh");
  limit_and_square(v, kGeluTanhLimit, r);
  const auto cube = operand(kGeluTanhCube, "gelu with tanh: v^3");
  sum_of_two(r.w(), r.w_low(), r.square(), cube, kGeluSlope, "gelu: v");
  e_.vfnmadd231ps(r.w_low(), r.square_excess(), cube);
  times_sigmoid(v, r.limited(), r.w(), r.w_low(), kGeluTanhLimit, r);
}

void ActivationMath::gelu(const Xmm& v, const Registers& r) {
  e_.note("gelu");
  limit_and_square(v, kGeluLimit, r);
  constexpr std::size_t kLast = std::size(kGelu) - 1;
  load(r.rest(), kGelu[kLast], kGeluText[kLast]);
  for (std::size_t i = kLast - 1; i >= 1; --i) {
    e_.vfmadd213ps(r.rest(), r.square(), operand(kGelu[i], kGeluText[i]));
  }
  sum_of_two(r.cube(), r.cube_low(), r.square(), r.rest(), kGelu[0], kGeluText[0]);
  sum_of_two(r.w(), r.w_low(), r.square(), r.cube(), kGeluSlope, "gelu: v");
  e_.vfnmadd231ps(r.w_low(), r.square_excess(), operand(kGeluSquareSlope, "gelu: slope over v^2"));
  e_.vfmadd231ps(r.w_low(), r.square(), r.cube_low());
  times_sigmoid(v, r.limited(), r.w(), r.w_low(), kGeluLimit, r);
}

// Squares of very negative values overflow and come to nothing: the result there is 0 by the mask.
void ActivationMath::limit_and_square(const Xmm& v, float limit, const Registers& r) {
  e_.vminps(r.limited(), v, operand(limit, "gelu: limit"));
  e_.vmulps(r.square(), r.limited(), r.limited());
  e_.vmovaps(r.square_excess(), r.square());
  e_.vfnmadd231ps(r.square_excess(), r.limited(), r.limited());
}

void ActivationMath::sum_of_two(const Xmm& high, const Xmm& low, const Xmm& a, const Operand& b, float number,
                                const char* text) {
  load(low, number, text);
  e_.vmovaps(high, low);
  e_.vfmadd231ps(high, a, b);
  e_.vsubps(low, low, high);
  e_.vfmadd231ps(low, a, b);
}

// v / (1 + 2^n 2^-r) with n - r = -c (w + w_low); 1 + 2^n is exact where it matters, so that only one rounding is left
// of the sum.
void ActivationMath::times_sigmoid(const Xmm& v, const Xmm& c, const Operand& w, const Operand& w_low, float limit,
                                   const Registers& r) {
  const auto round = operand(kRound, "rounds to an integer + 127");
  load(r.scale(), kRound, "rounds to an integer + 127");
  e_.vfnmadd231ps(r.scale(), c, w);
  e_.vsubps(r.remainder(), r.scale(), round);
  e_.vpslld(r.scale(), r.scale(), kExponentShift);
  e_.vfmadd231ps(r.remainder(), c, w);
  e_.vfmadd231ps(r.remainder(), c, w_low);
  constexpr std::size_t kLast = std::size(kPower) - 1;
  load(r.power(), kPower[kLast], kPowerText[kLast]);
  for (std::size_t i = kLast; i-- > 0;) {
    e_.vfmadd213ps(r.power(), r.remainder(), operand(kPower[i], kPowerText[i]));
  }
  e_.vmulps(r.remainder(), r.remainder(), r.scale());
  e_.vaddps(r.scale(), r.scale(), operand(1.0f, "1"));
  e_.vfmadd213ps(r.remainder(), r.power(), r.scale());
  divide(v, r.remainder(), limit, r.scale());
}

void ActivationMath::divide(const Xmm& v, const Xmm& denominator, float limit, const Xmm& mask) {
  const auto lowest = operand(-limit, "below, the function is 0");
  if (width_ == Width::zmm) {
    e_.vcmpps(e_.k2, v, lowest, kNotLess);
    e_.vdivps(v | e_.k2 | e_.T_z, v, denominator);
  } else {
    e_.vcmpps(mask, v, lowest, kNotLess);
    e_.vdivps(v, v, denominator);
    e_.vandps(v, v, mask);
  }
}

Xbyak::Address ActivationMath::operand(float value, const char* text) {
  if (width_ == Width::zmm) return e_.ptr_b[e_.constant(std::bit_cast<std::uint32_t>(value), text)];
  std::uint8_t lanes[kYmmBytes];
  for (std::size_t i = 0; i < kYmmBytes; i += sizeof value) std::memcpy(lanes + i, &value, sizeof value);
  return e_.ptr[e_.constant(lanes, text)];
}

void ActivationMath::load(const Xmm& to, float value, const char* text) {
  if (width_ == Width::zmm) {
    e_.vbroadcastss(to, e_.dword[e_.constant(std::bit_cast<std::uint32_t>(value), text)]);
  } else {
    e_.vmovaps(to, operand(value, text));
  }
}

}  // namespace zenwoq
