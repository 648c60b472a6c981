// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The 4-bit linears of GGUF files: two-dimensional tensors of the types below. The library reads their blocks as they
// lie in the file, but for NVFP4's:
//
//   4 UE4M3 scales of 16 values each (0x7F is 0), then for each 8 bytes with the codes j and j + 8 in byte j
//
// A tensor X.scale beside X.weight is a number, of experts [E], by which the product is multiplied, as llama.cpp does
// before it adds a bias. X.input_scale is of activations in fp4, which are not.
#include <algorithm>
#include <cstddef>
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
    {ggml_nvfp4, ZENWOQ_CODES_NIBBLES, ZENWOQ_E4M3, ZENWOQ_ZERO_NONE, ZENWOQ_TABLE_E2M1},
    {ggml_iq4_xs, ZENWOQ_CODES_GGUF_IQ4_XS, ZENWOQ_S8_F16, ZENWOQ_ZERO_NONE, ZENWOQ_TABLE_IQ4_NL},
};

constexpr std::size_t group_values = 32;  // of all types but NVFP4
constexpr std::size_t nvfp4_group_values = 16;
constexpr std::size_t nvfp4_groups = 4;  // of a block
constexpr std::size_t nvfp4_block_bytes = nvfp4_groups * (1 + nvfp4_group_values / 2);

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

// One weight of NVFP4, whose blocks are split into codes and scales.
struct Nvfp4Layer final : LayerSource {
  ByteView blocks;

  Prepared prepare(std::size_t expert) const override {
    const std::size_t each = blocks.size() / experts;
    const ByteView weight = blocks.sub(expert * each, each);
    std::vector<std::uint8_t> codes, scales;
    codes.reserve(desc.n * desc.k / 2);
    scales.reserve(desc.n * groups_of(desc));
    for (std::size_t at = 0; at < weight.size(); at += nvfp4_block_bytes) {
      for (std::size_t group = 0; group < nvfp4_groups; ++group) {
        scales.push_back(e4m3_of(weight.data()[at + group]));
        add_codes(weight.data() + at + nvfp4_groups + group * nvfp4_group_values / 2, codes);
      }
    }
    Prepared prepared;
    prepared.set_codes(ZENWOQ_CODES_NIBBLES, prepared.own(std::move(codes)));
    prepared.set_scales(prepared.own(std::move(scales)));
    return prepared;
  }

  std::uint8_t e4m3_of(std::uint8_t scale) const {
    if (scale > 0x7F) fail("{}: scale 0x{:02x}: must be below 0x80, UE4M3 has no sign", where, scale);
    return scale == 0x7F ? std::uint8_t{0} : scale;
  }

  // Codes j and j + 8 in byte j -> codes 2j and 2j + 1.
  static void add_codes(const std::uint8_t* halves, std::vector<std::uint8_t>& codes) {
    for (std::size_t i = 0; i < nvfp4_group_values / 2; ++i) {
      const std::size_t first = 2 * i % 8;
      const unsigned shift = i < 4 ? 0 : 4;
      const unsigned even = (halves[first] >> shift) & 15u, odd = (halves[first + 1] >> shift) & 15u;
      codes.push_back(static_cast<std::uint8_t>(even | odd << 4));
    }
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

std::unique_ptr<LayerSource> make_source(const GgufTensor& tensor, const BlockType& type) {
  if (type.number == ggml_nvfp4) {
    auto layer = std::make_unique<Nvfp4Layer>();
    layer->blocks = tensor.data;
    return layer;
  }
  auto layer = std::make_unique<GgufLayer>();
  layer->layout = type.layout;
  layer->blocks = tensor.data;
  return layer;
}

// Of a 3-D tensor the last dimension counts experts.
std::unique_ptr<LayerSource> make_layer(const GgufTensor& tensor, const BlockType& type, const std::string& where) {
  std::unique_ptr<LayerSource> layer = make_source(tensor, type);
  layer->where = formatted("{}: weight {}", where, tensor.name);
  layer->bytes = tensor.data.size();
  layer->name = without_suffix(tensor.name, ".weight");
  layer->format = formatted("gguf {}", find_ggml_type(tensor.type)->name);
  layer->experts = tensor.dimensions.size() == 3 ? tensor.dimensions[2] : 1;
  layer->desc.n = tensor.dimensions[1];
  layer->desc.k = tensor.dimensions[0];
  layer->desc.group_size = type.number == ggml_nvfp4 ? nvfp4_group_values : group_values;
  layer->desc.scale_type = type.scale_type;
  layer->desc.zero_kind = type.zero_kind;
  zenwoq_code_table_fill(type.table, layer->desc.table);
  return layer;
}

using TensorsByName = std::map<std::string_view, const GgufTensor*>;

// The tensor X.bias of X.weight, part being "bias"; nullptr if there is none.
const GgufTensor* find_part(const TensorsByName& by_name, const GgufTensor& weight, const char* part) {
  if (!has_suffix(weight.name, ".weight")) return nullptr;
  const auto found = by_name.find(formatted("{}.{}", without_suffix(weight.name, ".weight"), part));
  return found == by_name.end() ? nullptr : found->second;
}

// Throws ReadError unless the bias is [N], of experts [N, E].
void attach_bias(const GgufTensor& bias, LayerSource& layer) {
  std::vector<std::uint64_t> shape = {layer.desc.n};
  if (layer.experts != 1) shape.push_back(layer.experts);
  if (bias.dimensions != shape) {
    fail("{}: {} has shape {}, it should be {}", layer.where, bias.name, shown(bias.dimensions), shown(shape));
  }
  layer.bias_type = *float_type_of_ggml(bias.type);
  layer.bias = bias.data;
}

// Why a weight with these tensors beside it cannot be imported; empty if it can.
std::string reason_of_parts(const BlockType& type, const GgufTensor* bias, const GgufTensor* scale) {
  if (bias != nullptr && !float_type_of_ggml(bias->type)) {
    const GgmlType* bias_type = find_ggml_type(bias->type);
    return formatted("its bias is {}", bias_type != nullptr ? bias_type->name : "of unknown type");
  }
  if (scale == nullptr) return {};
  if (float_type_of_ggml(scale->type) != ZENWOQ_F32) return "its scale is no f32";
  if (type.zero_kind != ZENWOQ_ZERO_NONE) return "has a scale for the weight beside offsets";
  const float first = scale->data.size() >= 4 ? float_at(ZENWOQ_F32, scale->data.data(), 0) : 0.0f;
  for (std::size_t i = 1; i < scale->data.size() / 4; ++i) {
    if (float_at(ZENWOQ_F32, scale->data.data(), i) != first) return "experts with a scale each";
  }
  return {};
}

// Throws ReadError unless there is one number for each expert.
void attach_scale(const GgufTensor& scale, LayerSource& layer) {
  if (scale.dimensions != std::vector<std::uint64_t>{layer.experts}) {
    fail("{}: {} has shape {}, it should be [{}]", layer.where, scale.name, shown(scale.dimensions), layer.experts);
  }
  layer.desc.tensor_scale_kind = ZENWOQ_TENSOR_SCALE_TIMES;
  layer.desc.tensor_scale = float_at(ZENWOQ_F32, scale.data.data(), 0);
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
    const GgufTensor* bias = find_part(by_name, tensor, "bias");
    const GgufTensor* scale = find_part(by_name, tensor, "scale");
    if (std::string reason = reason_of_parts(*type, bias, scale); !reason.empty()) {
      found.left_alone.push_back({tensor.name, std::move(reason), stored(tensor)});
      continue;
    }
    std::unique_ptr<LayerSource> layer = make_layer(tensor, *type, contents.where);
    if (bias != nullptr) attach_bias(*bias, *layer);
    if (scale != nullptr) attach_scale(*scale, *layer);
    taken.insert({bias, scale});
    found.layers.push_back(std::move(layer));
  }
  std::vector<GgufTensor> rest;
  for (GgufTensor& tensor : contents.gguf) {
    if (taken.count(&tensor) == 0) rest.push_back(std::move(tensor));
  }
  contents.gguf = std::move(rest);
}

}  // namespace zenwoq::formats
