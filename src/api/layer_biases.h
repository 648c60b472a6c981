// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The biases of a layer as kernels read them: whole panels of f32, where the caller has them or in memory of ours.
#pragma once

#include "src/api/boundary.h"

namespace zenwoq {

// A caller's bias. data may be NULL: zeroes, where the other weight of a gated product has one.
struct CallersBias {
  const void* data = nullptr;
  zenwoq_dtype type = ZENWOQ_F32;
  std::size_t count = 0;

  std::size_t bytes() const { return data == nullptr ? 0 : count * dtype_bytes(type); }
};

// Those of a layer, and of its second weight. Where one has a bias, so has the other.
struct LayerBiases {
  CallersBias bias;
  CallersBias up;  // of no values where there is no second weight

  LayerBiases(const CallersBias& of_weight, const CallersBias& of_up) : bias(of_weight), up(of_up) {}
  // Of a linear whose weight has n rows.
  LayerBiases(const zenwoq_linear_desc& desc, std::size_t n);

  // What load() takes of memory. borrow: what lies in the caller's memory as kernels read it stays there.
  std::size_t floats(bool borrow) const;
  // Gives the layer, which is whole but for them, its biases; returns what follows them in memory.
  float* load(bool borrow, float* memory, Layer* layer) const;

 private:
  bool any() const { return bias.data != nullptr || up.data != nullptr; }
  bool second() const { return any() && up.count != 0; }
};

}  // namespace zenwoq
