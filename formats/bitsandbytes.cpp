// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// bitsandbytes NF4 and FP4.
//
//   W[n,k] = quant_map[code[e]] * absmax[e / blocksize]      e = n * K + k: blocks know nothing of rows
//
//   P.weight             bytes [N*K/2], element e in byte e / 2, the even one in the high half (of any dtype: only
//   bytes count) P.weight.absmax      F32 [blocks]; or U8 with double quantization, and then
//                        absmax[i] = nested_quant_map[absmax[i]] * nested_absmax[i / nested_blocksize] + nested_offset
//   P.weight.quant_map   F32 [16]
//   P.weight.quant_state.bitsandbytes__nf4 (or __fp4)   U8, JSON: blocksize, shape [N, K], nested_blocksize,
//   nested_offset
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <numeric>
#include <utility>

#include "formats/container/strict_json.h"
#include "formats/container/text.h"
#include "formats/formats.h"
#include "formats/parts.h"

namespace zenwoq::formats {
namespace {

using nlohmann::json;

constexpr std::size_t max_state_bytes = 1u << 16;

struct State {
  std::uint64_t n = 0;
  std::uint64_t k = 0;
  std::uint64_t blocksize = 0;
  std::uint64_t nested_blocksize = 0;
  float nested_offset = 0;
};

// absmax in f32, whatever it is kept as.
struct Absmax {
  Tensor values;
  Tensor nested_map, nested_absmax;  // without bytes if values are f32
  std::uint64_t nested_blocksize = 1;
  float nested_offset = 0;

  float at(std::size_t i) const {
    if (nested_map.data.size() == 0) return float_at(ZENWOQ_F32, values.data.data(), i);
    const float unit = float_at(ZENWOQ_F32, nested_map.data.data(), values.data.data()[i]);
    return unit * float_at(ZENWOQ_F32, nested_absmax.data.data(), i / nested_blocksize) + nested_offset;
  }
};

struct BitsandbytesLayer final : LayerSource {
  ByteView codes;
  Absmax absmax;
  std::uint64_t blocksize = 0;

  Prepared prepare(std::size_t) const override;
  std::vector<std::uint8_t> scales() const;
};

// One for each group of a row, which is a block or a part of one.
std::vector<std::uint8_t> BitsandbytesLayer::scales() const {
  const std::size_t groups = groups_of(desc);
  std::vector<std::uint8_t> bytes(desc.n * groups * sizeof(float));
  for (std::size_t i = 0; i < desc.n * groups; ++i) {
    const float scale = absmax.at(i * group_of(desc) / blocksize);
    std::memcpy(bytes.data() + i * sizeof scale, &scale, sizeof scale);
  }
  return bytes;
}

Prepared BitsandbytesLayer::prepare(std::size_t) const {
  Prepared prepared;
  prepared.set_codes(ZENWOQ_CODES_NIBBLES_HIGH, codes);
  prepared.set_scales(prepared.own(scales()));
  return prepared;
}

std::uint64_t size_field(const json& state, const char* key, const std::string& where) {
  const auto found = state.find(key);
  if (found == state.end() || !found->is_number_unsigned() || *found == 0u) {
    fail("{}: {} of its quant_state is missing or no size", where, key);
  }
  return found->get<std::uint64_t>();
}

// Throws ReadError unless the state has all that is needed.
State parse_state(const Tensor& tensor, const std::string& where) {
  require_dtype(tensor, "quant_state", "U8", where);
  if (tensor.data.size() > max_state_bytes) {
    fail("{}: quant_state has {} bytes, the limit is {}", where, tensor.data.size(), max_state_bytes);
  }
  const json root = parse_strict_json(tensor.data.text(), where + ": quant_state");
  if (!root.is_object()) fail("{}: quant_state is no JSON object", where);
  State state;
  state.blocksize = size_field(root, "blocksize", where);
  const auto shape = root.find("shape");
  const bool is_shape =
      shape != root.end() && shape->is_array() && !shape->empty() &&
      std::all_of(shape->begin(), shape->end(), [](const json& size) { return size.is_number_unsigned(); });
  if (!is_shape) fail("{}: shape of its quant_state is missing or no list of sizes", where);
  if (shape->size() == 2) {
    state.n = (*shape)[0].get<std::uint64_t>();
    state.k = (*shape)[1].get<std::uint64_t>();
  }
  if (root.contains("nested_blocksize")) {
    state.nested_blocksize = size_field(root, "nested_blocksize", where);
    const auto offset = root.find("nested_offset");
    if (offset == root.end() || !offset->is_number()) {
      fail("{}: nested_offset of its quant_state is missing or no number", where);
    }
    const double value = offset->get<double>();
    if (!(std::fabs(value) <= FLT_MAX)) fail("{}: nested_offset of its quant_state is {}", where, value);
    state.nested_offset = static_cast<float>(value);
  }
  return state;
}

// Throws ReadError unless absmax has one value for each block.
Absmax take_absmax(TensorMap& parts, const State& state, std::uint64_t blocks, const std::string& where) {
  Absmax absmax;
  require_part(parts, "absmax", where);
  absmax.values = std::move(parts.at("absmax"));
  require_shape(absmax.values, "absmax", {blocks}, where);
  if (state.nested_blocksize == 0) {
    require_dtype(absmax.values, "absmax", "F32", where);
    return absmax;
  }
  require_dtype(absmax.values, "absmax", "U8", where);
  require_part(parts, "nested_quant_map", where);
  require_part(parts, "nested_absmax", where);
  absmax.nested_map = std::move(parts.at("nested_quant_map"));
  absmax.nested_absmax = std::move(parts.at("nested_absmax"));
  require_dtype(absmax.nested_map, "nested_quant_map", "F32", where);
  require_dtype(absmax.nested_absmax, "nested_absmax", "F32", where);
  require_shape(absmax.nested_map, "nested_quant_map", {256}, where);
  require_shape(absmax.nested_absmax, "nested_absmax", {(blocks - 1) / state.nested_blocksize + 1}, where);
  absmax.nested_blocksize = state.nested_blocksize;
  absmax.nested_offset = state.nested_offset;
  return absmax;
}

void read_table(const Tensor& quant_map, const std::string& where, float (&table)[16]) {
  require_dtype(quant_map, "quant_map", "F32", where);
  require_shape(quant_map, "quant_map", {16}, where);
  for (std::size_t code = 0; code < 16; ++code) {
    table[code] = float_at(ZENWOQ_F32, quant_map.data.data(), code);
    if (!std::isfinite(table[code])) fail("{}: quant_map has {} at {}", where, table[code], code);
  }
}

// The layer, and in reason why it is left alone if it is. Throws ReadError if sizes contradict each other.
std::unique_ptr<BitsandbytesLayer> make_layer(const Tensor& weight, TensorMap& parts, const State& state,
                                              const std::string& kind, const std::string& where, std::string* reason) {
  const std::optional<std::uint64_t> values = checked_product(state.n, state.k);
  if (state.n == 0 || state.k == 0) {
    *reason = "not 2-D, or without values";
    return nullptr;
  }
  if (!values || *values / 2 + *values % 2 != weight.data.size()) {
    fail("{}: has {} bytes, but its shape is [{}, {}]", where, weight.data.size(), state.n, state.k);
  }
  const std::uint64_t group = std::gcd(state.k, state.blocksize);
  if (state.k % 2 != 0 || (group != state.k && group % 8 != 0)) {
    *reason = formatted("blocks of {} in rows of {} values: no groups of a multiple of 8", state.blocksize, state.k);
    return nullptr;
  }
  auto layer = std::make_unique<BitsandbytesLayer>();
  layer->where = where;
  layer->codes = weight.data;
  layer->absmax = take_absmax(parts, state, (*values - 1) / state.blocksize + 1, where);
  layer->blocksize = state.blocksize;
  read_table(require_part(parts, "quant_map", where), where, layer->desc.table);
  layer->format = "bitsandbytes " + kind;
  layer->bytes = weight.data.size() + layer->absmax.values.data.size() + layer->absmax.nested_absmax.data.size();
  layer->desc.n = state.n;
  layer->desc.k = state.k;
  layer->desc.group_size = group_size_or_channel(group, state.k);
  layer->desc.scale_type = ZENWOQ_F32;
  return layer;
}

void import_weight(TensorSet& set, const std::string& name, const std::string& kind, FoundLayers& found) {
  const std::string where = formatted("{}: weight {}.weight", set.where, name);
  const std::string state_name = "quant_state.bitsandbytes__" + kind;
  TensorMap parts = take_parts(set, name + ".weight",
                               {"absmax", "quant_map", "nested_absmax", "nested_quant_map", state_name.c_str()});
  TensorMap weights = take_parts(set, name, {"weight"});
  const Tensor& weight = require_part(weights, "weight", where);
  const State state = parse_state(parts.at(state_name), where);
  std::string reason;
  std::unique_ptr<BitsandbytesLayer> layer = make_layer(weight, parts, state, kind, where, &reason);
  add_layer(
      set, name, std::move(reason), [&] { return std::move(layer); }, found);
}

}  // namespace

void find_bitsandbytes(Contents& contents, FoundLayers& found) {
  for (const std::string kind : {"nf4", "fp4"}) {
    for (const std::string& name : names_before(contents.set, ".weight.quant_state.bitsandbytes__" + kind)) {
      import_weight(contents.set, name, kind, found);
    }
  }
}

}  // namespace zenwoq::formats
