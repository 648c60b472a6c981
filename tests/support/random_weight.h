// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Random weights and activations, nasty values included, and a layer computed just as the contract says.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "src/weight/quantization.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq::test {

using Rng = std::mt19937_64;

// Uniform in [low, high].
std::size_t pick(Rng& rng, std::size_t low, std::size_t high);

struct RandomWeight : Quantization {
  std::vector<std::uint8_t> codes;                        // nibbles
  std::vector<std::uint8_t> scales;                       // [N,G]
  std::vector<std::uint8_t> zeros;                        // [N,G], or empty
  std::vector<std::uint8_t> super_scales, super_offsets;  // [N,G/8] f16, or empty
  std::vector<std::uint32_t> permutation;                 // [K], or empty
  std::vector<float> x_scale;                             // [K], or empty

  zenwoq_weight_source source() const;
  unsigned code(std::size_t row, std::size_t column) const;
  float scale(std::size_t row, std::size_t g) const;
  float offset(std::size_t row, std::size_t g) const;
  int zero(std::size_t row, std::size_t g) const { return static_cast<std::int8_t>(zeros[row * groups() + g]); }
};

// Finite scales and offsets of any size: small, huge, denormal, negative, -0.
RandomWeight random_weight(Rng& rng, std::size_t n, std::size_t k, std::size_t group_size,
                           const ParameterFormat& format);
inline RandomWeight random_weight(Rng& rng, std::size_t n, std::size_t k, std::size_t group_size,
                                  zenwoq_dtype scale_type, zenwoq_zero_kind zero_kind) {
  return random_weight(rng, n, k, group_size, {scale_type, zero_kind});
}

// Any scales and zeros that go together, the new ones as often as the old.
ParameterFormat random_format(Rng& rng);
// A k of about that length that a weight of this format can have.
std::size_t fitting_k(const ParameterFormat& format, std::size_t k, std::size_t group_size);

// Makes the weight permuted, or gives its columns factors.
void permute_columns(Rng& rng, RandomWeight* weight);
void scale_columns(Rng& rng, RandomWeight* weight);

// bf16 bits: mostly small numbers; where `nasty`, also -0, denormals, infinities and NaN.
std::uint16_t random_bf16(Rng& rng, bool nasty);

// total * scale or total / scale of the contract.
float contract_tensor_scale(zenwoq_tensor_scale_kind kind, float total, float scale);

// y[n] of one row by the contract's definition, one scalar operation after another. It takes from src/ where groups
// begin and none of the arithmetic. x has K bf16 values. The result is the one before rounding to bf16.
float contract_element(const RandomWeight& weight, std::size_t n, const std::vector<std::uint16_t>& x,
                       const float* bias);

// Whether the bits are equal or both are NaN.
bool same_f32(float a, float b);
bool same_bf16(std::uint16_t a, std::uint16_t b);

}  // namespace zenwoq::test
