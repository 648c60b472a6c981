// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// MLX in 4 bits.
//
//   affine:        W[n,k] = scale[n,g] * code + bias[n,g]
//   mxfp4, nvfp4:  W[n,k] = scale[n,g] * E2M1(code)           scales E8M0 of 32, E4M3 of 16
//
//   P.weight  U32 [N, K/8], half byte i of word w holds k = 8w + i
//   P.scales  [N, G]
//   P.biases  [N, G] of affine
//
// MLX rounds scale * code to the scale's type before it adds the bias; here nothing is rounded in between.
#include <utility>

#include "formats/container/text.h"
#include "formats/formats.h"
#include "formats/parts.h"

namespace zenwoq::formats {
namespace {

struct Mode {
  const char* name;
  const char* scales_dtype;  // "" for floats
  zenwoq_dtype scale_type;
  zenwoq_code_table table;
};

constexpr Mode modes[] = {
    {"affine", "", ZENWOQ_BF16, ZENWOQ_TABLE_UNSIGNED},
    {"mxfp4", "U8", ZENWOQ_E8M0, ZENWOQ_TABLE_E2M1},
    {"nvfp4", "U8", ZENWOQ_E4M3, ZENWOQ_TABLE_E2M1},
};

struct MlxConfig {
  std::string reason;
  const Mode* mode = nullptr;
  std::uint64_t group_size = 0;
};

MlxConfig read_config(const JsonFields& fields) {
  MlxConfig config;
  const std::string name = fields.text("mode").value_or("affine");
  for (const Mode& mode : modes) {
    if (name == mode.name) config.mode = &mode;
  }
  const std::int64_t bits = fields.integer("bits").value_or(0), group_size = fields.integer("group_size").value_or(0);
  if (config.mode == nullptr) config.reason = formatted("mlx of mode {}, not read", shown(name));
  if (bits != 4) config.reason = formatted("mlx of {} bits, only 4 are read", bits);
  if (group_size <= 0) config.reason = formatted("mlx of group_size {}", group_size);
  config.group_size = static_cast<std::uint64_t>(group_size);
  return config;
}

std::string reason_to_leave(const TensorMap& parts, const MlxConfig& config, const std::string& where) {
  if (!config.reason.empty()) return config.reason;
  const Tensor& weight = require_part(parts, "weight", where);
  const Tensor& scales = require_part(parts, "scales", where);
  if (is_empty(weight)) return empty_reason(weight);
  if (weight.shape.size() != 2) return formatted("{}-D, not the weight of a linear", weight.shape.size());
  const std::uint64_t k = weight.shape[1] * word_codes;
  if (k % config.group_size != 0 || !is_matrix(scales, weight.shape[0], k / config.group_size)) {
    return formatted("mlx with weight {}, scales {}: not 4 bits in groups of {}", shown(weight.shape),
                     shown(scales.shape), config.group_size);
  }
  const bool floats = config.mode->scales_dtype[0] == '\0';
  if (floats ? !float_type(scales.dtype) : scales.dtype != config.mode->scales_dtype) {
    return formatted("mlx of mode {} with {} scales", config.mode->name, lower_case(shown(scales.dtype)));
  }
  if (!floats) return {};
  const Tensor& biases = require_part(parts, "biases", where);
  require_shape(biases, "biases", scales.shape, where);
  return biases.dtype == scales.dtype ? "" : formatted("mlx with {} biases", lower_case(shown(biases.dtype)));
}

std::unique_ptr<LayerSource> make_layer(const TensorMap& parts, const MlxConfig& config, const std::string& where) {
  const Tensor& weight = parts.at("weight");
  const Tensor& scales = parts.at("scales");
  auto layer = std::make_unique<PlainLayer>();
  layer->where = where;
  layer->format = formatted("mlx {}", config.mode->name);
  layer->codes = weight.data;
  layer->scales = scales.data;
  layer->desc.n = weight.shape[0];
  layer->desc.k = weight.shape[1] * word_codes;
  layer->desc.group_size = group_size_or_channel(config.group_size, layer->desc.k);
  layer->desc.scale_type = float_type(scales.dtype).value_or(config.mode->scale_type);
  if (const auto biases = parts.find("biases"); biases != parts.end()) {
    layer->zeros = biases->second.data;
    layer->desc.zero_kind = ZENWOQ_ZERO_OFFSET;
  }
  layer->bytes = layer->codes.size() + layer->scales.size() + layer->zeros.size();
  zenwoq_code_table_fill(config.mode->table, layer->desc.table);
  return layer;
}

}  // namespace

void find_mlx(Contents& contents, FoundLayers& found) {
  MlxConfig config;
  for (const std::string& name : names_before(contents.set, ".scales")) {
    const auto weight = contents.set.tensors.find(name + ".weight");
    if (weight == contents.set.tensors.end() || weight->second.dtype != "U32") continue;
    if (config.mode == nullptr && config.reason.empty()) config = read_config(contents.quantization_config());
    const std::string where = formatted("{}: weight {}.weight", contents.set.where, name);
    const TensorMap parts = take_parts(contents.set, name, {"weight", "scales", "biases"});
    add_layer(
        contents.set, name, reason_to_leave(parts, config, where), [&] { return make_layer(parts, config, where); },
        found);
  }
}

}  // namespace zenwoq::formats
