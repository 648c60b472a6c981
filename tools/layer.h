// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A 4-bit linear as the tool sees it: its quantization and what a checkpoint says, and its values one by one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "src/weight/quantization.h"

namespace zenwoq::tools {

using formats::Checkpoint;
using formats::LayerSource;
using formats::LeftAlone;
using formats::open_checkpoint;
using formats::ReadError;
using formats::ReadOptions;

// What is known about a layer before its tensors are read.
struct LayerInfo : Quantization {
  std::string name;                     // of the linear, without ".weight"
  std::string format;                   // "torchao intx", "torchao opaque", "gguf q4_0", "gguf q4_1"
  zenwoq_dtype bias_type = ZENWOQ_F32;  // if the layer has a bias
  bool has_bias = false;
};

LayerInfo info_of(const LayerSource& source);

struct Layer {
  LayerInfo info;
  std::vector<std::uint8_t> codes;   // [N, ceil(K/2)] nibbles, even k in the low four bits, unused bits 0
  std::vector<std::uint8_t> scales;  // [N, G] of info.scale_type; of two levels the bytes
  std::vector<std::uint8_t> zeros;   // [N, G]: int8 in 0..16; or offsets, or fractions, in their type; or empty
  std::vector<std::uint8_t> super_scales, super_offsets;  // [N, G/8] f16, or empty
  std::vector<std::uint32_t> permutation;                 // [K]: the column at each place; or empty
  std::vector<float> x_scale;                             // [K], by column; or empty
  std::vector<std::uint8_t> bias;                         // [N] of info.bias_type, or empty

  unsigned code(std::size_t n, std::size_t column) const {
    return (codes[n * ((info.k + 1) / 2) + column / 2] >> (4 * (column % 2))) & 15u;
  }
  std::size_t column(std::size_t place) const { return permutation.empty() ? place : permutation[place]; }
  // Of group i = n * G + g, without a tensor scale. zero: of integers and fractions; what is added: offsets.
  float scale(std::size_t i) const;
  float zero(std::size_t i) const;
  float offset(std::size_t i) const;
};

// Reads weight `expert` of a source value by value, as zenwoq.h describes its layout. Shares no code with packing, so
// that packed weights can be compared with it. All sizes must fit, as those of a weight that was packed do.
Layer read_layer(const LayerSource& source, const formats::Prepared& prepared, std::size_t expert);

}  // namespace zenwoq::tools
