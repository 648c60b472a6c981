// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What the readers of ONNX's operators share: a graph whose inputs are looked up, and what a weight is made to.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "formats/container/onnx_file.h"
#include "formats/layer.h"
#include "formats/parts.h"

namespace zenwoq::formats {

// The order that a g_idx gives to k columns in groups.
struct OnnxOrder {
  std::uint64_t k = 0, group = 0;
  ColumnOrder columns;
};

class OnnxGraph {
 public:
  OnnxGraph(const OnnxModel& model, const std::string& where) : model_(model), where_(where) {}

  const std::string& where() const { return where_; }

  // nullptr if the value is no initializer, as one that is left out is not.
  const Tensor* find(std::string_view value) const {
    const auto found = model_.tensors.find(std::string(value));
    return found == model_.tensors.end() ? nullptr : &found->second;
  }

  // Why the input, if it is not left out, cannot be had from the file; empty if it can. what: "scales".
  std::string input_reason(const OnnxNode& node, std::size_t input, const char* what) const;

  // The same for one that must be there and have a type of floats.
  std::string floats_reason(const OnnxNode& node, std::size_t input, const char* what) const;

  // Layers share their order, which is made once: there may be many with one g_idx. `where` names the first of them.
  // Empty where g_idx is used for others already. Throws ReadError for another type or shape.
  std::shared_ptr<const OnnxOrder> order(std::string_view g_idx, std::uint64_t k, std::uint64_t group,
                                         const std::string& where);

 private:
  const OnnxModel& model_;
  const std::string& where_;
  std::map<std::string, std::shared_ptr<const OnnxOrder>> orders_;
};

struct OnnxWeight {
  std::unique_ptr<LayerSource> layer;  // or ...
  std::string reason;                  // ... why there is none
};

// What multiplies with the result of a DequantizeLinear.
struct OnnxUse {
  bool by_row = false;      // the weight is [N, K], else [K, N]
  std::string_view node;    // its name
  std::string_view bias;    // a value; empty if there is none
  std::string_view reason;  // why such a product is not read

  bool same_weight(const OnnxUse& other) const {
    return by_row == other.by_row && bias == other.bias && reason == other.reason;
  }
};

inline std::uint8_t nibble_at(ByteView nibbles, std::size_t i) {
  return static_cast<std::uint8_t>((nibbles.data()[i / 2] >> (4 * (i % 2))) & 15u);
}

inline std::uint64_t blocks_for(std::uint64_t count, std::uint64_t block) {
  return count / block + (count % block != 0 ? 1 : 0);
}

// Each in the file of its name; the first input of the weight is an initializer. `where` names the weight. Throw
// ReadError if sizes contradict each other.
OnnxWeight read_onnx_matmulnbits(OnnxGraph& graph, const OnnxNode& node, const std::string& where);
OnnxWeight read_onnx_dequantize(const OnnxGraph& graph, const OnnxNode& node, const OnnxUse& use,
                                const std::string& where);

}  // namespace zenwoq::formats
