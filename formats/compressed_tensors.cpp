// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// compressed-tensors "pack-quantized" (llm-compressor): 4-bit integers, symmetric or with zero points, per group, per
// channel or per tensor.
//
//   W[n,k] = scale[n,g] * (code[n,k] - zero[n,g])
//
// pack-quantized:
//   P.weight_packed      I32 [N, ceil(K/8)], word w of a row holds the codes of k = 8w (low half byte) to 8w + 7
//   P.weight_scale       [N, G], [N, 1] or [1]
//   P.weight_shape       [2] integers: N and K
//   P.weight_zero_point  I32 [ceil(N/8), G], packed along N in the same order; missing: 8
//   P.weight_g_idx       I32 [K]: the group of each k, or -1 everywhere
//
// Values and zero points are stored with 8 added, which is what makes them codes.
#include <algorithm>
#include <utility>

#include "formats/container/text.h"
#include "formats/formats.h"
#include "formats/parts.h"

namespace zenwoq::formats {
namespace {

struct PackedLayer final : LayerSource {
  Tensor packed;
  Tensor scale;
  Tensor zero_point;                       // without bytes if there is none
  std::vector<std::uint32_t> permutation;  // empty if columns are in the order of their groups

  Prepared prepare(std::size_t) const override;
  std::vector<std::uint8_t> repeated_scale() const;
  std::vector<std::uint8_t> unpacked_zero_points() const;
};

// The one scale of a tensor for each of its rows.
std::vector<std::uint8_t> PackedLayer::repeated_scale() const {
  std::vector<std::uint8_t> scales;
  scales.reserve(desc.n * scale.data.size());
  for (std::size_t n = 0; n < desc.n; ++n) scales.insert(scales.end(), scale.data.begin(), scale.data.end());
  return scales;
}

std::vector<std::uint8_t> PackedLayer::unpacked_zero_points() const {
  const std::size_t groups = groups_of(desc);
  std::vector<std::uint8_t> zeros(desc.n * groups);
  for (std::size_t n = 0; n < desc.n; ++n) {
    for (std::size_t g = 0; g < groups; ++g) {
      zeros[n * groups + g] = half_byte(word_at(zero_point, n / word_codes, g), n % word_codes);
    }
  }
  return zeros;
}

Prepared PackedLayer::prepare(std::size_t) const {
  Prepared prepared;
  prepared.set_codes(ZENWOQ_CODES_NIBBLES, packed.data, 4 * packed.shape[1]);
  const bool one_scale = scale.shape.size() == 1;
  prepared.set_scales(one_scale ? prepared.own(repeated_scale()) : scale.data);
  if (desc.zero_kind == ZENWOQ_ZERO_INTEGER) prepared.set_zeros(prepared.own(unpacked_zero_points()));
  if (!permutation.empty()) prepared.set_permutation(permutation);
  return prepared;
}

// N and K. Throws ReadError unless weight_shape is two numbers that rows and words of weight_packed can have been made
// of.
std::pair<std::uint64_t, std::uint64_t> read_shape(const Tensor& shape, const std::string& where) {
  const bool wide = shape.dtype == "I64";
  if (!wide && shape.dtype != "I32") {
    fail("{}: weight_shape has type {}, it should be I64", where, shown(shape.dtype));
  }
  require_shape(shape, "weight_shape", {2}, where);
  std::int64_t sizes[2];
  for (std::size_t i = 0; i < 2; ++i) {
    sizes[i] = wide ? shape.data.read_le<std::int64_t>(8 * i) : shape.data.read_le<std::int32_t>(4 * i);
    if (sizes[i] <= 0) fail("{}: weight_shape says [{}, ...]: sizes are from 1 on", where, sizes[i]);
  }
  return {static_cast<std::uint64_t>(sizes[0]), static_cast<std::uint64_t>(sizes[1])};
}

// Whether no column has a group, which says that they are in order.
bool is_unused(const Tensor& g_idx) {
  return std::all_of(g_idx.data.begin(), g_idx.data.end(), [](std::uint8_t byte) { return byte == 0xFF; });
}

// Groups in a row; 1 for one scale of all.
std::uint64_t groups_in(const Tensor& scale) { return scale.shape.size() == 2 ? scale.shape[1] : 1; }

// Why a weight that does not contradict itself cannot be imported; empty if it can.
std::string reason_to_leave(const TensorMap& parts, const std::string& where) {
  const Tensor& packed = require_part(parts, "weight_packed", where);
  if (packed.dtype != "I32") {
    return formatted("compressed-tensors with {} weight_packed, only i32 is read", lower_case(shown(packed.dtype)));
  }
  if (is_empty(packed)) return empty_reason(packed);
  if (packed.shape.size() != 2) return formatted("{}-D, not the weight of a linear", packed.shape.size());
  const auto [n, k] = read_shape(require_part(parts, "weight_shape", where), where);
  if (packed.shape[1] != words_for(k) && k % packed.shape[1] == 0) {
    return formatted("{} values in a word, only 8 of 4 bits are read", k / packed.shape[1]);
  }
  const Tensor& scale = require_part(parts, "weight_scale", where);
  if (!float_type(scale.dtype)) return formatted("{} scales", lower_case(shown(scale.dtype)));
  const auto zero_point = parts.find("weight_zero_point");
  if (zero_point != parts.end() && zero_point->second.dtype != "I32") {
    return formatted("{} zero points, only i32 ones are read", lower_case(shown(zero_point->second.dtype)));
  }
  return {};
}

// The layer of a weight without reason_to_leave; throws ReadError if sizes contradict each other.
std::unique_ptr<PackedLayer> check_layer(TensorMap& parts, const std::string& where) {
  auto layer = std::make_unique<PackedLayer>();
  const auto [n, k] = read_shape(parts.at("weight_shape"), where);
  layer->packed = std::move(parts.at("weight_packed"));
  require_shape(layer->packed, "weight_packed", {n, words_for(k)}, where);
  layer->scale = std::move(parts.at("weight_scale"));
  const std::uint64_t groups = groups_in(layer->scale);
  if (layer->scale.shape.size() == 1) {
    require_shape(layer->scale, "weight_scale", {1}, where);
  } else {
    require_shape(layer->scale, "weight_scale", {n, groups}, where);
  }
  if (groups == 0 || k % groups != 0) fail("{}: rows of {} values do not divide into {} groups", where, k, groups);
  if (const auto zero_point = parts.find("weight_zero_point"); zero_point != parts.end()) {
    layer->zero_point = std::move(zero_point->second);
    require_shape(layer->zero_point, "weight_zero_point", {words_for(n), groups}, where);
    layer->desc.zero_kind = ZENWOQ_ZERO_INTEGER;
  }
  layer->where = where;
  layer->format = "compressed-tensors";
  layer->bytes = layer->packed.data.size() + layer->scale.data.size() + layer->zero_point.data.size();
  layer->desc.n = n;
  layer->desc.k = k;
  layer->desc.group_size = group_size_or_channel(k / groups, k);
  layer->desc.scale_type = *float_type(layer->scale.dtype);
  return layer;
}

// What the configuration says of all weights.
struct PackedConfig {
  std::string reason;       // why none is read: activations are to be quantized, or the format is another one
  bool asymmetric = false;  // each must have zero points
};

PackedConfig read_config(const JsonFields& fields) {
  PackedConfig config;
  const std::string format = fields.text("format").value_or("pack-quantized");
  constexpr const char* read[] = {"pack-quantized",       "mixed-precision", "nvfp4-pack-quantized",
                                  "mxfp4-pack-quantized", "int-quantized",   "naive-quantized"};
  if (std::find(std::begin(read), std::end(read), format) == std::end(read)) {
    config.reason = formatted("compressed-tensors {}, not read", shown(format));
    return config;
  }
  std::size_t groups = 0, asymmetric = 0;
  for (const JsonFields& group : fields.object("config_groups").objects()) {
    const JsonFields weights = group.object("weights");
    if (weights.integer("num_bits") != 4) continue;
    if (group.has("input_activations")) config.reason = "activations are quantized too (input_activations)";
    ++groups;
    asymmetric += weights.flag("symmetric").value_or(true) ? 0 : 1;
  }
  config.asymmetric = groups != 0 && asymmetric == groups;
  return config;
}

// Why a weight of fp4 codes cannot be imported: nvfp4 has scales in E4M3 and a global one, mxfp4 in E8M0.
std::string float_reason(const TensorMap& parts, const std::string& where) {
  const Tensor& scale = require_part(parts, "weight_scale", where);
  const bool nvfp4 = parts.count("weight_global_scale") != 0;
  if (nvfp4 ? scale.dtype != "F8_E4M3" : scale.dtype != "U8" && scale.dtype != "F8_E8M0") {
    return formatted("fp4 with {} scales{}", lower_case(shown(scale.dtype)), nvfp4 ? " and a global one" : "");
  }
  return fp4_reason(parts.at("weight_packed"), "weight_packed", scale, nvfp4 ? 16 : 32);
}

std::unique_ptr<LayerSource> make_float(const TensorMap& parts, const std::string& where) {
  const auto global = parts.find("weight_global_scale");
  const bool nvfp4 = global != parts.end();
  auto layer = make_fp4(parts.at("weight_packed"), parts.at("weight_scale"), nvfp4 ? ZENWOQ_E4M3 : ZENWOQ_E8M0, where);
  layer->format = nvfp4 ? "compressed-tensors nvfp4" : "compressed-tensors mxfp4";
  if (nvfp4) set_tensor_scale(global->second, ZENWOQ_TENSOR_SCALE_BY, *layer);
  return layer;
}

// int-quantized: P.weight I8 [N, K] holds values, P.weight_zero_point I8 [N, G] zero points, both as they are.
struct IntLayer final : LayerSource {
  Tensor weight, scale, zero_point;

  Prepared prepare(std::size_t) const override {
    Prepared prepared;
    prepared.set_codes(ZENWOQ_CODES_S8, weight.data);
    prepared.set_scales(scale.data);
    std::vector<std::uint8_t> zeros(zero_point.data.begin(), zero_point.data.end());
    for (std::uint8_t& zero : zeros) zero = static_cast<std::uint8_t>(zero + 8);  // what is outside -8..8 is refused
    if (!zeros.empty()) prepared.set_zeros(prepared.own(std::move(zeros)));
    return prepared;
  }
};

std::string int_reason(const TensorMap& parts, const std::string& where) {
  const Tensor& weight = parts.at("weight");
  const Tensor& scale = require_part(parts, "weight_scale", where);
  if (is_empty(weight)) return empty_reason(weight);
  if (weight.shape.size() != 2) return formatted("{}-D, not the weight of a linear", weight.shape.size());
  if (!float_type(scale.dtype)) return formatted("{} scales", lower_case(shown(scale.dtype)));
  const std::uint64_t groups = groups_in(scale);
  if (scale.shape.size() != 2 || groups == 0 || weight.shape[1] % groups != 0) {
    return formatted("weight {} with weight_scale {}: not in groups along rows", shown(weight.shape),
                     shown(scale.shape));
  }
  const auto zero_point = parts.find("weight_zero_point");
  if (zero_point == parts.end() || zero_point->second.dtype == "I8") return {};
  return formatted("{} zero points, only i8 ones are read", lower_case(shown(zero_point->second.dtype)));
}

std::unique_ptr<LayerSource> make_int(TensorMap& parts, const std::string& where) {
  auto layer = std::make_unique<IntLayer>();
  layer->where = where;
  layer->format = "compressed-tensors int";
  layer->weight = std::move(parts.at("weight"));
  layer->scale = std::move(parts.at("weight_scale"));
  const std::uint64_t n = layer->weight.shape[0], k = layer->weight.shape[1], groups = groups_in(layer->scale);
  require_shape(layer->scale, "weight_scale", {n, groups}, where);
  if (const auto zero_point = parts.find("weight_zero_point"); zero_point != parts.end()) {
    layer->zero_point = std::move(zero_point->second);
    require_shape(layer->zero_point, "weight_zero_point", {n, groups}, where);
    layer->desc.zero_kind = ZENWOQ_ZERO_INTEGER;
  }
  layer->bytes = layer->weight.data.size() + layer->scale.data.size() + layer->zero_point.data.size();
  layer->desc.n = n;
  layer->desc.k = k;
  layer->desc.group_size = group_size_or_channel(k / groups, k);
  layer->desc.scale_type = *float_type(layer->scale.dtype);
  zenwoq_code_table_fill(ZENWOQ_TABLE_TWOS_COMPLEMENT, layer->desc.table);
  return layer;
}

// Weights a byte a value, of as many bits as the configuration says: 4, or they are none of ours.
void import_ints(Contents& contents, const std::vector<std::string>& names, FoundLayers& found) {
  const JsonFields& fields = contents.quantization_config();
  const std::string format = fields.text("format").value_or("");
  if (format != "int-quantized" && format != "naive-quantized") return;
  for (const JsonFields& group : fields.object("config_groups").objects()) {
    if (group.object("weights").integer("num_bits") != 4) return;
  }
  if (!fields.has("config_groups")) return;
  const PackedConfig config = read_config(fields);
  for (const std::string& name : names) {
    const auto weight = contents.set.tensors.find(name + ".weight");
    if (weight == contents.set.tensors.end() || weight->second.dtype != "I8") continue;
    const std::string where = formatted("{}: weight {}.weight", contents.where, name);
    TensorMap parts = take_parts(contents.set, name, {"weight", "weight_scale", "weight_zero_point"});
    if (config.asymmetric) require_part(parts, "weight_zero_point", where);
    std::string reason = config.reason.empty() ? int_reason(parts, where) : config.reason;
    add_layer(
        contents.set, name, std::move(reason), [&] { return make_int(parts, where); }, found);
  }
}

void import_weight(Contents& contents, const std::string& name, const PackedConfig& config, FoundLayers& found) {
  const std::string where = formatted("{}: weight {}.weight", contents.where, name);
  TensorMap parts = take_parts(
      contents.set, name,
      {"weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx", "weight_global_scale"});
  if (const auto packed = parts.find("weight_packed"); packed != parts.end() && packed->second.dtype == "U8") {
    std::string reason = config.reason.empty() ? float_reason(parts, where) : config.reason;
    return add_layer(
        contents.set, name, std::move(reason), [&] { return make_float(parts, where); }, found);
  }
  std::string reason = config.reason.empty() ? reason_to_leave(parts, where) : config.reason;
  std::unique_ptr<PackedLayer> layer;
  if (reason.empty()) {
    if (config.asymmetric) require_part(parts, "weight_zero_point", where);
    layer = check_layer(parts, where);
  }
  if (const auto g_idx = parts.find("weight_g_idx"); layer != nullptr && g_idx != parts.end()) {
    require_shape(g_idx->second, "weight_g_idx", {layer->desc.k}, where);
    if (!is_unused(g_idx->second)) {
      ColumnOrder order = read_order(g_idx->second, layer->desc.k, group_of(layer->desc), "weight_g_idx", where);
      reason = std::move(order.reason);
      layer->desc.permuted = order.permutation.empty() ? 0 : 1;
      layer->permutation = std::move(order.permutation);
    }
  }
  add_layer(
      contents.set, name, std::move(reason), [&] { return std::move(layer); }, found);
}

}  // namespace

void find_compressed_tensors(Contents& contents, FoundLayers& found) {
  const std::vector<std::string> scaled = names_before(contents.set, ".weight_scale");
  if (!scaled.empty()) import_ints(contents, scaled, found);
  const std::vector<std::string> names = names_before(contents.set, ".weight_packed");
  if (names.empty()) return;
  const PackedConfig config = read_config(contents.quantization_config());
  for (const std::string& name : names) import_weight(contents, name, config, found);
}

}  // namespace zenwoq::formats
