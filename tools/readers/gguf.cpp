// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Imports Q4_0 and Q4_1.
//
//   Q4_0, blocks of 18 bytes:  f16 d, 16 bytes of codes          W = d * (code - 8)
//   Q4_1, blocks of 20 bytes:  f16 d, f16 m, 16 bytes of codes   W = d * code + m
//
// A row of W is K / 32 blocks; byte j of a block's codes holds value j (low half) and value j + 16 (high
// half).
#include "tools/readers/gguf.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "tools/readers/ggml_types.h"
#include "tools/readers/gguf_file.h"
#include "tools/readers/text.h"

namespace zenwoq::tools {
namespace {

constexpr std::size_t block_values = 32;
constexpr std::size_t code_bytes = block_values / 2;
constexpr std::size_t half_bytes = 2;  // of an f16

struct GgufLayer final : LayerSource {
  ByteView blocks;
  Layer load() const override;
};

// 16 bytes of codes in the order of a GGUF block -> in the order of K.
void copy_codes(const std::uint8_t* block, std::uint8_t* out) {
  for (std::size_t j = 0; j < code_bytes / 2; ++j) {
    const unsigned even = block[2 * j];
    const unsigned odd = block[2 * j + 1];
    out[j] = static_cast<std::uint8_t>((even & 15u) | (odd & 15u) << 4);
    out[j + code_bytes / 2] = static_cast<std::uint8_t>(even >> 4 | (odd & 0xF0u));
  }
}

Layer GgufLayer::load() const {
  Layer layer = start_layer(*this);
  const bool has_minimum = info.zero_kind == ZENWOQ_ZERO_OFFSET;
  const std::size_t block_bytes = half_bytes + (has_minimum ? half_bytes : 0) + code_bytes;
  const std::size_t count = info.n * info.k / block_values;
  layer.scales.resize(count * half_bytes);
  if (has_minimum) layer.zeros.resize(count * half_bytes);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t* block = blocks.data() + i * block_bytes;
    std::copy_n(block, half_bytes, layer.scales.data() + i * half_bytes);
    if (has_minimum) std::copy_n(block + half_bytes, half_bytes, layer.zeros.data() + i * half_bytes);
    copy_codes(block + block_bytes - code_bytes, layer.codes.data() + i * code_bytes);
  }
  return layer;
}

bool is_4_bit_matrix(const GgufTensor& tensor) {
  return (tensor.type == ggml_q4_0 || tensor.type == ggml_q4_1) && tensor.dimensions.size() == 2;
}

std::unique_ptr<GgufLayer> make_layer(const GgufTensor& tensor, const std::string& where) {
  const bool has_minimum = tensor.type == ggml_q4_1;
  auto layer = std::make_unique<GgufLayer>();
  layer->where = fmt::format("{}: weight {}", where, tensor.name);
  layer->blocks = tensor.data;
  layer->info.name = without_suffix(tensor.name, ".weight");
  layer->info.format = fmt::format("gguf {}", find_ggml_type(tensor.type)->name);
  layer->info.n = tensor.dimensions[1];
  layer->info.k = tensor.dimensions[0];
  layer->info.group_size = block_values;
  layer->info.scale_type = ZENWOQ_F16;
  layer->info.zero_kind = has_minimum ? ZENWOQ_ZERO_OFFSET : ZENWOQ_ZERO_NONE;
  zenwoq_code_table_fill(has_minimum ? ZENWOQ_TABLE_UNSIGNED : ZENWOQ_TABLE_MINUS_8, layer->info.table.data());
  return layer;
}

using TensorsByName = std::map<std::string_view, const GgufTensor*>;

// The tensor X.bias of X.weight; nullptr if there is none.
const GgufTensor* find_bias(const TensorsByName& by_name, const GgufTensor& weight) {
  if (!has_suffix(weight.name, ".weight")) return nullptr;
  const auto found = by_name.find(std::string(without_suffix(weight.name, ".weight")) + ".bias");
  return found == by_name.end() ? nullptr : found->second;
}

// Throws ReadError unless the bias is [N].
void attach_bias(const GgufTensor& bias, GgufLayer& layer) {
  if (bias.dimensions != std::vector<std::uint64_t>{layer.info.n}) {
    fail("{}: {} has shape {}, it should be [{}]", layer.where, bias.name, shown(bias.dimensions), layer.info.n);
  }
  layer.info.has_bias = true;
  layer.info.bias_type = *float_type_of_ggml(bias.type);
  layer.bias = bias.data;
}

}  // namespace

FoundLayers find_gguf_layers(ByteView file, const std::string& where) {
  const std::vector<GgufTensor> tensors = parse_gguf(file, where);
  TensorsByName by_name;
  for (const GgufTensor& tensor : tensors) by_name[tensor.name] = &tensor;

  FoundLayers found;
  std::set<const GgufTensor*> used_biases;
  for (const GgufTensor& tensor : tensors) {
    if (!is_4_bit_matrix(tensor)) continue;
    const GgufTensor* bias = find_bias(by_name, tensor);
    if (bias != nullptr && !float_type_of_ggml(bias->type)) {
      const GgmlType* type = find_ggml_type(bias->type);
      found.left_alone.push_back({tensor.name, fmt::format("its bias is {}", type ? type->name : "of unknown type")});
      continue;
    }
    std::unique_ptr<GgufLayer> layer = make_layer(tensor, where);
    if (bias != nullptr) {
      attach_bias(*bias, *layer);
      used_biases.insert(bias);
    }
    found.layers.push_back(std::move(layer));
  }
  for (const GgufTensor& tensor : tensors) {
    if (is_4_bit_matrix(tensor) || used_biases.count(&tensor) != 0) continue;
    found.left_alone.push_back({tensor.name, plain_ggml_reason(tensor.type, tensor.dimensions.size())});
  }
  return found;
}

}  // namespace zenwoq::tools
