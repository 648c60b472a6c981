// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A 4-bit linear layer as a checkpoint file holds it, in the canonical form that zenwoq_weight_source takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "src/weight/quantization.h"

namespace zenwoq::tools {

// What is known about a layer before its tensors are read: its quantization, and what only a checkpoint says.
struct LayerInfo : Quantization {
  std::string name;                     // of the linear, without ".weight"
  std::string format;                   // "torchao intx", "torchao opaque", "gguf q4_0", "gguf q4_1"
  zenwoq_dtype bias_type = ZENWOQ_F32;  // if the layer has a bias
  bool has_bias = false;
};

struct Layer {
  LayerInfo info;
  std::vector<std::uint8_t> codes;   // [N, ceil(K/2)] nibbles, even k in the low four bits
  std::vector<std::uint8_t> scales;  // [N, G] of info.scale_type
  std::vector<std::uint8_t> zeros;   // [N, G]: int8 in 0..16, or offsets of info.scale_type, or empty
  std::vector<std::uint8_t> bias;    // [N] of info.bias_type, or empty
};

struct LeftAlone {
  std::string name;
  std::string reason;
};

// A file is damaged, contradicts itself, or is of no known kind. what() is one line that says what is wrong and where.
class ReadError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct ReadOptions {
  enum class OpaqueLayout { avx512, avx2 } opaque_layout = OpaqueLayout::avx512;
};

// An open checkpoint. Opening checks every size and offset; load() copies one layer out of the mapped file.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  const std::vector<LayerInfo>& layers() const { return layers_; }
  const std::vector<LeftAlone>& left_alone() const { return left_alone_; }
  virtual Layer load(std::size_t index) const = 0;  // throws ReadError for impossible values (a code of 9)

 protected:
  std::vector<LayerInfo> layers_;
  std::vector<LeftAlone> left_alone_;
};

// Opens a .safetensors file, a .safetensors.index.json of shards, or a GGUF file, told apart by content.
// Throws ReadError.
std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path, const ReadOptions& options = {});

}  // namespace zenwoq::tools
