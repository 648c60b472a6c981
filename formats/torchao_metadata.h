// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The JSON that TorchAO keeps in a safetensors file's metadata for each quantized weight.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/container/tensor_set.h"
#include "formats/layer.h"

namespace zenwoq::formats {

// How the names of a weight's tensors are made. The weight M.weight is kept as
//   torchao >= 0.15:  M._weight_qdata, ...  bias M.bias
//   torchao 0.14:     M.weight:qdata,  ...  bias M.bias:_data
struct WeightNames {
  std::string layer;         // M; for a weight that is not called "weight", its whole name
  std::string parts_prefix;  // "M._weight_"
  std::string bias;          // empty for a weight that is not called "weight"
};

// The names of this weight's tensors in the dialect in which the set has some of them; empty if it has none (metadata
// may name weights of other shards).
std::optional<WeightNames> names_in_set(const TensorSet& set, const std::string& weight);

// A metadata entry: {"_type": type, "_data": {...}, ...}.
struct WeightMetadata {
  std::string type;
  // Of IntxUnpackedToInt8Tensor only:
  std::string target_dtype;               // "int4"
  std::string activation_quantization;    // empty for weight-only
  std::vector<std::uint64_t> block_size;  // [1, g]

  bool is_plain_tensor() const { return type == "Tensor"; }
  bool is_intx() const { return type == "IntxUnpackedToInt8Tensor"; }
};

// A class of TorchAO's tensors that is read.
struct TensorClass {
  const char* type;
  // Why a weight that does not contradict itself cannot be imported; empty if it can.
  std::string (*reason_to_leave)(const WeightMetadata& metadata, const TensorMap& parts, const std::string& where);
  // The layer of a weight without reason_to_leave; throws ReadError if sizes contradict each other.
  std::unique_ptr<LayerSource> (*make)(const WeightMetadata& metadata, const TensorMap& parts,
                                       const std::string& where);
};

// Each in the file of its name.
extern const TensorClass torchao_intx, torchao_int4;

// Throws ReadError if the entry is not JSON, has fields of a wrong type, or differs between shards.
WeightMetadata parse_weight_metadata(const std::set<std::string>& values, const std::string& where);

}  // namespace zenwoq::formats
