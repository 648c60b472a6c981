// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The activation functions of the contract, one value at a time. To be called with flush-to-zero, denormals-are-zero
// and round to nearest set (MxcsrScope). Without branches, so that loops over them are vectorised.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "jit/activation.h"
#include "jit/panel_layout.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

// first ? a : b, which the compiler would turn into a branch.
ZENWOQ_INLINE inline float choose(bool first, float a, float b) {
  const std::uint32_t mask = 0u - std::uint32_t{first};
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(a) & mask) | (std::bit_cast<std::uint32_t>(b) & ~mask));
}

// b where either is NaN, as in vminps and vmaxps.
ZENWOQ_INLINE inline float smaller_or_second(float a, float b) { return choose(a < b, a, b); }
ZENWOQ_INLINE inline float larger_or_second(float a, float b) { return choose(a > b, a, b); }

// The sum of c[i] x^i by Horner's rule, from i = First. (A loop over an array of constants is not vectorised.)
template <std::size_t First = 0, std::size_t N>
ZENWOQ_INLINE inline float polynomial(const float (&c)[N], float x) {
  if constexpr (First + 1 == N) {
    return c[First];
  } else {
    return __builtin_fmaf(x, polynomial<First + 1>(c, x), c[First]);
  }
}

// v / (1 + 2^-(c (w + w_low))), c being v or what stands for it where it is large; +0 below -limit.
ZENWOQ_INLINE inline float times_sigmoid(float v, float c, float w, float w_low, float limit) {
  using namespace activation_constants;
  const float rounded = __builtin_fmaf(-c, w, kRound);
  const float n = rounded - kRound;
  const float scale = std::bit_cast<float>(std::bit_cast<std::uint32_t>(rounded) << kExponentShift);  // 2^n
  const float r = __builtin_fmaf(c, w_low, __builtin_fmaf(c, w, n));
  const float result = v / __builtin_fmaf(r * scale, polynomial(kPower, r), scale + 1.0f);
  return choose(v < -limit, 0.0f, result);
}

ZENWOQ_INLINE inline float silu(float v) {
  constexpr auto s = activation_constants::kSilu;
  return times_sigmoid(v, smaller_or_second(v, s.limit), s.w, s.w_low, s.limit);
}

ZENWOQ_INLINE inline float gelu_tanh(float v) {
  using namespace activation_constants;
  const float c = smaller_or_second(v, kGeluTanhLimit);
  const float square = c * c;
  const float square_excess = __builtin_fmaf(-c, c, square);
  const float w = __builtin_fmaf(square, kGeluTanhCube, kGeluSlope);
  float w_low = __builtin_fmaf(square, kGeluTanhCube, kGeluSlope - w);
  w_low = __builtin_fmaf(-square_excess, kGeluTanhCube, w_low);
  return times_sigmoid(v, c, w, w_low, kGeluTanhLimit);
}

ZENWOQ_INLINE inline float gelu(float v) {
  using namespace activation_constants;
  const float c = smaller_or_second(v, kGeluLimit);
  const float square = c * c;
  const float square_excess = __builtin_fmaf(-c, c, square);
  const float rest = polynomial<1>(kGelu, square);
  const float cube = __builtin_fmaf(square, rest, kGelu[0]);
  const float cube_low = __builtin_fmaf(square, rest, kGelu[0] - cube);
  const float w = __builtin_fmaf(square, cube, kGeluSlope);
  float w_low = __builtin_fmaf(square, cube, kGeluSlope - w);
  w_low = __builtin_fmaf(-square_excess, kGeluSquareSlope, w_low);
  w_low = __builtin_fmaf(square, cube_low, w_low);
  return times_sigmoid(v, c, w, w_low, kGeluLimit);
}

// A denormal is 0, as vmaxps takes it: a comparison and a choice would let one through.
ZENWOQ_INLINE inline float relu(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  const float flushed = std::bit_cast<float>((bits & 0x7F800000u) == 0 ? bits & 0x80000000u : bits);
  return larger_or_second(0.0f, flushed);
}

// Any but SWIGLU_OAI, which takes a pair. A loop is vectorised if its activation is a constant.
ZENWOQ_INLINE inline float activate(zenwoq_activation activation, float v) {
  switch (activation) {
    case ZENWOQ_ACTIVATION_RELU: return relu(v);
    case ZENWOQ_ACTIVATION_SILU: return silu(v);
    case ZENWOQ_ACTIVATION_GELU: return gelu(v);
    case ZENWOQ_ACTIVATION_GELU_TANH: return gelu_tanh(v);
    default: return v;
  }
}

ZENWOQ_INLINE inline float swiglu_oai(float gate, float up) {
  using namespace activation_constants;
  const float g = smaller_or_second(kOaiLimit, gate);
  const float u = smaller_or_second(kOaiLimit, larger_or_second(-kOaiLimit, up));
  return times_sigmoid(g, g, kSwigluOai.w, kSwigluOai.w_low, kSwigluOai.limit) * (u + 1.0f);
}

}  // namespace zenwoq
