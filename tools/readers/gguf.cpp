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
#include <iterator>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "tools/readers/ggml_types.h"
#include "tools/readers/gguf_file.h"
#include "tools/readers/text.h"

namespace zenwoq::tools {
namespace {

constexpr std::string_view extension = ".gguf";
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
  return (tensor.type == ggml_q4_0 || tensor.type == ggml_q4_1) && tensor.dimensions.size() == 2 && !is_empty(tensor);
}

std::string reason_to_leave(const GgufTensor& tensor) {
  if (is_empty(tensor)) return fmt::format("shape {}, no values", shown(tensor.dimensions));
  return plain_ggml_reason(tensor.type, tensor.dimensions.size());
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

// The file's name as a shard's; throws ReadError unless it says the same as the file itself.
ShardName require_shard_name(const GgufFile& file, const std::string& where, const std::string& file_name) {
  const std::optional<ShardName> name = parse_shard_name(file_name, extension);
  if (name && name->number == file.shard + 1 && name->count == file.shards) return *name;
  fail("{}: is shard {} of {}, but not called NAME-{:05}-of-{:05}{}, as which the others could be found", where,
       file.shard + 1, file.shards, file.shard + 1, file.shards, extension);
}

// Adds the tensors of the other shards of a model in several files.
void add_other_shards(GgufFile& file, const std::string& where, const std::string& file_name,
                      const ShardSource& shard_bytes) {
  const ShardName name = require_shard_name(file, where, file_name);
  for (std::uint64_t i = 0; i < file.shards; ++i) {
    if (i == file.shard) continue;
    const std::string other_name = name.file_of(i + 1, extension);
    GgufFile other;
    try {
      other = parse_gguf(shard_bytes(other_name), shown(other_name));
    } catch (const ReadError& error) {
      fail("{}: is shard {} of {}: {}", where, file.shard + 1, file.shards, error.what());
    }
    if (other.shard != i || other.shards != file.shards) {
      fail("{}: is shard {} of {}, but {} says that it is shard {} of {}", where, file.shard + 1, file.shards,
           shown(other_name), other.shard + 1, other.shards);
    }
    std::move(other.tensors.begin(), other.tensors.end(), std::back_inserter(file.tensors));
  }
  if (file.tensors_of_all != 0 && file.tensors_of_all != file.tensors.size()) {
    fail("{}: split.tensors.count is {}, but the {} shards have {} tensors", where, file.tensors_of_all, file.shards,
         file.tensors.size());
  }
}

}  // namespace

FoundLayers find_gguf_layers(ByteView bytes, const std::string& where, const std::string& file_name,
                             const ShardSource& shard_bytes) {
  GgufFile file = parse_gguf(bytes, where);
  if (file.shards > 1) {
    add_other_shards(file, where, file_name, shard_bytes);
  } else if (const std::optional<ShardName> name = parse_shard_name(file_name, extension)) {
    fail("{}: is called shard {} of {}, but has no split.count that says so", where, name->number, name->count);
  }
  const std::vector<GgufTensor>& tensors = file.tensors;
  TensorsByName by_name;
  for (const GgufTensor& tensor : tensors) {
    if (!by_name.emplace(tensor.name, &tensor).second) fail("{}: two shards have tensor {}", where, tensor.name);
  }

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
    found.left_alone.push_back({tensor.name, reason_to_leave(tensor)});
  }
  return found;
}

}  // namespace zenwoq::tools
