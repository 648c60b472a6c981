// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
#include "src/api/layer_biases.h"

#include <algorithm>
#include <utility>

namespace zenwoq {
namespace {

bool lies_as_read(const CallersBias& bias) {
  return bias.data != nullptr && bias.type == ZENWOQ_F32 && bias.count % kPanelColumns == 0 &&
         reinterpret_cast<std::uintptr_t>(bias.data) % alignof(float) == 0;
}

std::size_t padded(const CallersBias& bias) { return (bias.count + kPanelColumns - 1) / kPanelColumns * kPanelColumns; }

std::size_t floats_of(const CallersBias& bias, bool borrow) { return borrow && lies_as_read(bias) ? 0 : padded(bias); }

void load_values(const CallersBias& bias, float* to) {
  // A loop apart for the most common type: with the type a constant, compilers vectorise it.
  if (bias.type == ZENWOQ_BF16) {
    for (std::size_t i = 0; i < bias.count; ++i) to[i] = load_as_f32(ZENWOQ_BF16, bias.data, i);
    return;
  }
  for (std::size_t i = 0; i < bias.count; ++i) to[i] = load_as_f32(bias.type, bias.data, i);
}

void load_panels(const CallersBias& bias, float* to) {
  if (bias.data != nullptr) load_values(bias, to);
  std::fill(to + (bias.data == nullptr ? 0 : bias.count), to + padded(bias), 0.0f);
}

}  // namespace

LayerBiases::LayerBiases(const zenwoq_linear_desc& desc, std::size_t n)
    : bias{desc.bias, desc.bias_type, n},
      up{desc.up_bias, desc.bias_type, desc.up != nullptr || desc.up_packed != nullptr ? n : 0} {}

std::size_t LayerBiases::floats(bool borrow) const {
  return (any() ? floats_of(bias, borrow) : 0) + (second() ? floats_of(up, borrow) : 0);
}

float* LayerBiases::load(bool borrow, float* memory, Layer* layer) const {
  const auto loaded = [&](const CallersBias& from) {
    if (borrow && lies_as_read(from)) return static_cast<const float*>(from.data);
    load_panels(from, memory);
    return static_cast<const float*>(std::exchange(memory, memory + padded(from)));
  };
  if (any()) layer->bias = loaded(bias);
  if (second()) layer->up.bias = loaded(up);
  if (any() && !second() && layer->gated()) layer->up.bias = layer->bias + layer->n;  // halves
  return memory;
}

}  // namespace zenwoq
