// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The 4-bit linears of GGUF files: two-dimensional tensors of the types below, whose blocks the library reads as they
// lie in the file.
#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "formats/container/ggml_types.h"
#include "formats/container/text.h"
#include "formats/formats.h"

namespace zenwoq::formats {
namespace {

struct BlockType {
  std::uint32_t number;  // in the file
  zenwoq_code_layout layout;
  zenwoq_dtype scale_type;
  zenwoq_zero_kind zero_kind;
  zenwoq_code_table table;
};

constexpr BlockType block_types[] = {
    {ggml_q4_0, ZENWOQ_CODES_GGUF_Q4_0, ZENWOQ_F16, ZENWOQ_ZERO_NONE, ZENWOQ_TABLE_MINUS_8},
    {ggml_q4_1, ZENWOQ_CODES_GGUF_Q4_1, ZENWOQ_F16, ZENWOQ_ZERO_OFFSET, ZENWOQ_TABLE_UNSIGNED},
    {ggml_iq4_nl, ZENWOQ_CODES_GGUF_Q4_0, ZENWOQ_F16, ZENWOQ_ZERO_NONE, ZENWOQ_TABLE_IQ4_NL},
    {ggml_mxfp4, ZENWOQ_CODES_GGUF_MXFP4, ZENWOQ_E8M0, ZENWOQ_ZERO_NONE, ZENWOQ_TABLE_E2M1},
    {ggml_q4_k, ZENWOQ_CODES_GGUF_Q4_K, ZENWOQ_U8_F16, ZENWOQ_ZERO_OFFSET, ZENWOQ_TABLE_UNSIGNED},
    {ggml_iq4_xs, ZENWOQ_CODES_GGUF_IQ4_XS, ZENWOQ_S8_F16, ZENWOQ_ZERO_NONE, ZENWOQ_TABLE_IQ4_NL},
};

constexpr std::size_t group_values = 32;  // of all types

struct GgufLayer final : LayerSource {
  zenwoq_code_layout layout = ZENWOQ_CODES_GGUF_Q4_0;
  ByteView blocks;

  Prepared prepare(std::size_t expert) const override {
    const std::size_t each = blocks.size() / experts;
    Prepared prepared;
    prepared.set_codes(layout, blocks.sub(expert * each, each));
    return prepared;
  }
};

// nullptr if the tensor becomes no layer.
const BlockType* find_block_type(const GgufTensor& tensor) {
  const std::size_t dimensions = tensor.dimensions.size();
  if ((dimensions != 2 && dimensions != 3) || is_empty(tensor)) return nullptr;
  const auto* found = std::find_if(std::begin(block_types), std::end(block_types),
                                   [&](const BlockType& type) { return type.number == tensor.type; });
  return found == std::end(block_types) ? nullptr : found;
}

// Of a 3-D tensor the last dimension counts experts.
std::unique_ptr<GgufLayer> make_layer(const GgufTensor& tensor, const BlockType& type, const std::string& where) {
  auto layer = std::make_unique<GgufLayer>();
  layer->where = fmt::format("{}: weight {}", where, tensor.name);
  layer->layout = type.layout;
  layer->blocks = tensor.data;
  layer->bytes = tensor.data.size();
  layer->name = without_suffix(tensor.name, ".weight");
  layer->format = fmt::format("gguf {}", find_ggml_type(tensor.type)->name);
  layer->experts = tensor.dimensions.size() == 3 ? tensor.dimensions[2] : 1;
  layer->desc.n = tensor.dimensions[1];
  layer->desc.k = tensor.dimensions[0];
  layer->desc.group_size = group_values;
  layer->desc.scale_type = type.scale_type;
  layer->desc.zero_kind = type.zero_kind;
  zenwoq_code_table_fill(type.table, layer->desc.table);
  return layer;
}

using TensorsByName = std::map<std::string_view, const GgufTensor*>;

// The tensor X.bias of X.weight; nullptr if there is none.
const GgufTensor* find_bias(const TensorsByName& by_name, const GgufTensor& weight) {
  if (!has_suffix(weight.name, ".weight")) return nullptr;
  const auto found = by_name.find(std::string(without_suffix(weight.name, ".weight")) + ".bias");
  return found == by_name.end() ? nullptr : found->second;
}

// Throws ReadError unless the bias is [N], of experts [N, E].
void attach_bias(const GgufTensor& bias, GgufLayer& layer) {
  std::vector<std::uint64_t> shape = {layer.desc.n};
  if (layer.experts != 1) shape.push_back(layer.experts);
  if (bias.dimensions != shape) {
    fail("{}: {} has shape {}, it should be {}", layer.where, bias.name, shown(bias.dimensions), shown(shape));
  }
  layer.bias_type = *float_type_of_ggml(bias.type);
  layer.bias = bias.data;
}

}  // namespace

void find_gguf(Contents& contents, FoundLayers& found) {
  TensorsByName by_name;
  for (const GgufTensor& tensor : contents.gguf) by_name.emplace(tensor.name, &tensor);
  std::set<const GgufTensor*> taken;
  for (const GgufTensor& tensor : contents.gguf) {
    const BlockType* type = find_block_type(tensor);
    if (type == nullptr) continue;
    taken.insert(&tensor);
    const GgufTensor* bias = find_bias(by_name, tensor);
    if (bias != nullptr && !float_type_of_ggml(bias->type)) {
      const GgmlType* bias_type = find_ggml_type(bias->type);
      const char* name = bias_type != nullptr ? bias_type->name : "of unknown type";
      found.left_alone.push_back({tensor.name, fmt::format("its bias is {}", name), stored(tensor)});
      continue;
    }
    std::unique_ptr<GgufLayer> layer = make_layer(tensor, *type, contents.where);
    if (bias != nullptr) {
      attach_bias(*bias, *layer);
      taken.insert(bias);
    }
    found.layers.push_back(std::move(layer));
  }
  std::vector<GgufTensor> rest;
  for (GgufTensor& tensor : contents.gguf) {
    if (taken.count(&tensor) == 0) rest.push_back(std::move(tensor));
  }
  contents.gguf = std::move(rest);
}

}  // namespace zenwoq::formats
