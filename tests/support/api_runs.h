// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What tests of runs through the C API need: contexts of every tier, weights and values for them, results to compare.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tests/support/random_weight.h"
#include "tools/api_handles.h"

namespace zenwoq::test {

using Bytes = std::vector<std::uint8_t>;

// The caller's threads in an odd order: tasks one after another, backwards.
void serial_backwards(void*, std::size_t n, void (*task)(void*, std::size_t), void* arg);

// A context of each tier of this CPU with 1 to 3 threads; the last runs tasks with serial_backwards.
std::vector<tools::ContextHandle> all_contexts();

tools::WeightHandle make_weight(zenwoq_context* context, const RandomWeight& weight);
// The bytes of a weight, which has them.
zenwoq_packed packed_of(const zenwoq_weight* weight);

// Element i of an array of f32, f16 or bf16: the value's high half where the type is of two bytes, any of which is a
// valid f16 too.
void store_value(zenwoq_dtype type, float value, std::uint8_t* to, std::size_t i);
// random_bf16 of this type.
Bytes random_values(Rng& rng, std::size_t count, zenwoq_dtype type, bool nasty);

// Whether all values are equal, NaN of any payload.
bool same_values(zenwoq_dtype type, std::span<const std::uint8_t> a, std::span<const std::uint8_t> b);

// The contract's epilogue of one value, before it is rounded to y's type.
struct ContractEpilogue {
  zenwoq_activation activation;
  bool gated;
  unsigned factors, residuals;

  // product and up have their biases; residual: as many as there are.
  float finished(float product, float up, float factor, const float* residual) const;
};

}  // namespace zenwoq::test
