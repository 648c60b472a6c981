// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// AWQ, as AutoAWQ writes it: versions gemm and gemv.
//
//   W[n,k] = scale[n,g] * (code[n,k] - zero[n,g])
//
//   gemm:  P.qweight  I32 [K, N/8], half byte i of word w holds column 8w + {0,2,4,6,1,3,5,7}[i]
//          P.qzeros   I32 [G, N/8], in the same order
//          P.scales   [G, N]
//   gemv:  P.qweight  I32 [N, K/8], half byte i of word w holds k = 8w + i
//          P.qzeros   I32 [N, W], half byte i of word w is of group 8w + i; W is rounded up
//          P.scales   [N, 8W], of which G count
//   gemv_fast:  P.qweight  I16 [N/4, K] in an order of its own (ZENWOQ_CODES_AWQ_FAST)
//               P.scales, P.qzeros  [8W, N], of which G rows count; W[n,k] = scale * code + qzero
#include <algorithm>
#include <utility>

#include "formats/container/text.h"
#include "formats/formats.h"
#include "formats/parts.h"

namespace zenwoq::formats {
namespace {

constexpr std::size_t gemm_order[word_codes] = {0, 2, 4, 6, 1, 3, 5, 7};

struct AwqLayer : LayerSource {
  Tensor qweight;
  Tensor qzeros;  // without bytes if there are none
  Tensor scales;
};

struct GemmLayer final : AwqLayer {
  Prepared prepare(std::size_t) const override;
  std::vector<std::uint8_t> unpacked_zeros() const;
};

// [G,N], one a byte.
std::vector<std::uint8_t> GemmLayer::unpacked_zeros() const {
  const std::size_t groups = groups_of(desc);
  std::vector<std::uint8_t> zeros(desc.n * groups);
  for (std::size_t g = 0; g < groups; ++g) {
    for (std::size_t w = 0; w < desc.n / word_codes; ++w) {
      const std::uint32_t word = word_at(qzeros, g, w);
      for (std::size_t i = 0; i < word_codes; ++i) {
        zeros[g * desc.n + word_codes * w + gemm_order[i]] = half_byte(word, i);
      }
    }
  }
  return zeros;
}

Prepared GemmLayer::prepare(std::size_t) const {
  Prepared prepared;
  prepared.set_codes(ZENWOQ_CODES_AWQ, qweight.data);
  prepared.by_group();
  prepared.set_scales(scales.data);
  if (desc.zero_kind == ZENWOQ_ZERO_INTEGER) prepared.set_zeros(prepared.own(unpacked_zeros()));
  return prepared;
}

// Offsets are what qzeros are called there.
struct GemvFastLayer final : AwqLayer {
  Prepared prepare(std::size_t) const override {
    const std::size_t bytes = groups_of(desc) * desc.n * float_bytes(desc.scale_type);  // the rest is padding
    Prepared prepared;
    prepared.set_codes(ZENWOQ_CODES_AWQ_FAST, qweight.data);
    prepared.by_group();
    prepared.set_scales(scales.data.sub(0, bytes));
    prepared.set_zeros(qzeros.data.sub(0, bytes));
    return prepared;
  }
};

struct GemvLayer final : AwqLayer {
  Prepared prepare(std::size_t) const override;
  std::vector<std::uint8_t> first_scales() const;
  std::vector<std::uint8_t> unpacked_zeros() const;
};

// Rows without what they were filled up with.
std::vector<std::uint8_t> GemvLayer::first_scales() const {
  const std::size_t bytes = float_bytes(desc.scale_type);
  std::vector<std::uint8_t> values;
  values.reserve(desc.n * groups_of(desc) * bytes);
  for (std::size_t n = 0; n < desc.n; ++n) {
    const std::uint8_t* row = scales.data.data() + n * scales.shape[1] * bytes;
    values.insert(values.end(), row, row + groups_of(desc) * bytes);
  }
  return values;
}

std::vector<std::uint8_t> GemvLayer::unpacked_zeros() const {
  std::vector<std::uint8_t> zeros;
  zeros.reserve(desc.n * groups_of(desc));
  for (std::size_t n = 0; n < desc.n; ++n) {
    for (std::size_t g = 0; g < groups_of(desc); ++g) {
      zeros.push_back(half_byte(word_at(qzeros, n, g / word_codes), g % word_codes));
    }
  }
  return zeros;
}

Prepared GemvLayer::prepare(std::size_t) const {
  Prepared prepared;
  prepared.set_codes(ZENWOQ_CODES_NIBBLES, qweight.data);
  prepared.set_scales(prepared.own(first_scales()));
  if (desc.zero_kind == ZENWOQ_ZERO_INTEGER) prepared.set_zeros(prepared.own(unpacked_zeros()));
  return prepared;
}

// What the configuration says of all weights.
struct AwqConfig {
  std::string reason;            // why none is read; empty if they are
  std::uint64_t group_size = 0;  // 0: a group is a row
  bool gemv = false;
  bool fast = false;       // gemv_fast
  bool has_zeros = false;  // each must have them
};

AwqConfig read_config(const JsonFields& fields) {
  AwqConfig config;
  const std::int64_t bits = fields.integer("bits").value_or(0);
  const std::int64_t group_size = fields.integer("group_size").value_or(0);
  const std::string version = lower_case(fields.text("version").value_or("gemm"));
  if (bits != 4) {
    config.reason = formatted("awq of {} bits, only 4 are read", bits);
  } else if (version != "gemm" && version != "gemv" && version != "gemv_fast") {
    config.reason = formatted("awq of version {}, only gemm, gemv and gemv_fast are read", shown(version));
  } else if (group_size < -1 || group_size == 0) {
    config.reason = formatted("awq of group_size {}", group_size);
  }
  config.group_size = group_size < 0 ? 0 : static_cast<std::uint64_t>(group_size);
  config.gemv = version == "gemv";
  config.fast = version == "gemv_fast";
  config.has_zeros = fields.flag("zero_point").value_or(false);
  return config;
}

std::string dtype_reason(const TensorMap& parts, const AwqConfig& config, const std::string& where) {
  const Tensor& qweight = require_part(parts, "qweight", where);
  if (qweight.dtype != (config.fast ? "I16" : "I32"))
    return formatted("awq with {} qweight", lower_case(shown(qweight.dtype)));
  if (is_empty(qweight)) return empty_reason(qweight);
  if (qweight.shape.size() != 2) return formatted("{}-D, not the weight of a linear", qweight.shape.size());
  const Tensor& scales = require_part(parts, "scales", where);
  if (!float_type(scales.dtype)) return formatted("{} scales", lower_case(shown(scales.dtype)));
  if (config.has_zeros || config.fast) require_part(parts, "qzeros", where);
  const auto qzeros = parts.find("qzeros");
  if (qzeros == parts.end() || qzeros->second.dtype == (config.fast ? scales.dtype : "I32")) return {};
  return formatted("awq with {} qzeros", lower_case(shown(qzeros->second.dtype)));
}

// Throws ReadError unless the parts have the shapes of the version.
void check_shapes(const AwqLayer& layer, bool gemv, const std::string& where) {
  const std::uint64_t n = layer.desc.n, groups = groups_of(layer.desc);
  if (layer.desc.k % group_of(layer.desc) != 0) {
    fail("{}: rows of {} values do not divide into groups of {}", where, layer.desc.k, group_of(layer.desc));
  }
  const bool has_zeros = layer.desc.zero_kind == ZENWOQ_ZERO_INTEGER;
  if (!gemv) {
    require_shape(layer.scales, "scales", {groups, n}, where);
    if (has_zeros) require_shape(layer.qzeros, "qzeros", {groups, n / word_codes}, where);
    return;
  }
  const std::uint64_t columns = layer.scales.shape.size() == 2 ? layer.scales.shape[1] : 0;
  if (columns < groups || columns % word_codes != 0) {
    fail("{}: scales has shape {}, it should be [{}, {} or more eights]", where, shown(layer.scales.shape), n, groups);
  }
  require_shape(layer.scales, "scales", {n, columns}, where);
  if (has_zeros) require_shape(layer.qzeros, "qzeros", {n, columns / word_codes}, where);
}

// Throws ReadError unless the parts have the shapes of gemv_fast.
std::unique_ptr<LayerSource> make_fast_layer(TensorMap& parts, const AwqConfig& config, const std::string& where) {
  auto layer = std::make_unique<GemvFastLayer>();
  layer->qweight = std::move(parts.at("qweight"));
  layer->scales = std::move(parts.at("scales"));
  layer->qzeros = std::move(parts.at("qzeros"));
  layer->desc.n = layer->qweight.shape[0] * 4;  // fits: half of n times k is in the file
  layer->desc.k = layer->qweight.shape[1];
  layer->desc.group_size = group_size_or_channel(config.group_size, layer->desc.k);
  layer->desc.scale_type = *float_type(layer->scales.dtype);
  layer->desc.zero_kind = ZENWOQ_ZERO_OFFSET;
  zenwoq_code_table_fill(ZENWOQ_TABLE_UNSIGNED, layer->desc.table);
  const std::uint64_t groups = groups_of(layer->desc);
  const std::uint64_t rows = layer->scales.shape.empty() ? 0 : layer->scales.shape[0];
  if (layer->desc.k % 64 != 0 || layer->desc.k % group_of(layer->desc) != 0) {
    fail("{}: rows of {} values, must be a multiple of 64 and of the group, {}", where, layer->desc.k,
         group_of(layer->desc));
  }
  if (rows < groups)
    fail("{}: scales has shape {}, it should be [{} or more, {}]", where, shown(layer->scales.shape), groups,
         layer->desc.n);
  require_shape(layer->scales, "scales", {rows, layer->desc.n}, where);
  require_shape(layer->qzeros, "qzeros", {rows, layer->desc.n}, where);
  layer->where = where;
  layer->format = "awq gemv_fast";
  layer->bytes = layer->qweight.data.size() + layer->qzeros.data.size() + layer->scales.data.size();
  return layer;
}

std::unique_ptr<LayerSource> make_layer(TensorMap& parts, const AwqConfig& config, const std::string& where) {
  if (config.fast) return make_fast_layer(parts, config, where);
  std::unique_ptr<AwqLayer> layer;
  if (config.gemv) {
    layer = std::make_unique<GemvLayer>();
  } else {
    layer = std::make_unique<GemmLayer>();
  }
  layer->qweight = std::move(parts.at("qweight"));
  layer->scales = std::move(parts.at("scales"));
  if (const auto qzeros = parts.find("qzeros"); qzeros != parts.end()) {
    layer->qzeros = std::move(qzeros->second);
    layer->desc.zero_kind = ZENWOQ_ZERO_INTEGER;
  }
  const std::uint64_t packed = layer->qweight.shape[1] * word_codes;  // fits: half of it is in the file
  layer->desc.n = config.gemv ? layer->qweight.shape[0] : packed;
  layer->desc.k = config.gemv ? packed : layer->qweight.shape[0];
  layer->desc.group_size = group_size_or_channel(config.group_size, layer->desc.k);
  layer->desc.scale_type = *float_type(layer->scales.dtype);
  check_shapes(*layer, config.gemv, where);
  if (layer->desc.k % 2 != 0) fail("{}: rows of {} values, an odd number", where, layer->desc.k);
  layer->where = where;
  layer->format = config.gemv ? "awq gemv" : "awq gemm";
  layer->bytes = layer->qweight.data.size() + layer->qzeros.data.size() + layer->scales.data.size();
  return layer;
}

void import_weight(TensorSet& set, const std::string& name, const AwqConfig& config, FoundLayers& found) {
  const std::string where = formatted("{}: weight {}.weight", set.where, name);
  TensorMap parts = take_parts(set, name, {"qweight", "qzeros", "scales"});
  std::string reason = config.reason.empty() ? dtype_reason(parts, config, where) : config.reason;
  add_layer(
      set, name, std::move(reason), [&] { return make_layer(parts, config, where); }, found);
}

}  // namespace

void find_awq(Contents& contents, FoundLayers& found) {
  const std::vector<std::string> names = names_before(contents.set, ".qweight");
  if (names.empty()) return;
  const JsonFields& fields = contents.quantization_config();
  const std::string method = lower_case(fields.text("quant_method").value_or(""));
  const bool auto_round = method == "auto-round" && fields.text("packing_format") == "auto_round:auto_awq";
  if (method != "awq" && !auto_round) return;
  const AwqConfig config = read_config(fields);
  for (const std::string& name : names) import_weight(contents.set, name, config, found);
}

}  // namespace zenwoq::formats
