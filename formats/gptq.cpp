// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// GPTQ, as AutoGPTQ and GPTQModel write it.
//
//   W[n,k] = scale[n,g] * (code[n,k] - zero[n,g])      g = g_idx[k], which is k / group_size unless columns were sorted
//
//   P.qweight  I32 [K/8, N], word r of a column holds the codes of k = 8r (low half byte) to 8r + 7
//   P.qzeros   I32 [G, N/8], packed along N in the same order
//   P.scales   [G, N]
//   P.g_idx    I32 [K]; old files lack it
//
// "checkpoint_format" gptq (or none) stores zero - 1, gptq_v2 stores zero. Whole words were written minus 0x11111111,
// so they are read plus that, with the carries: where a zero was 0, no other reading gives its neighbours back. Files
// with the wrong label exist; for symmetric ones, whose zeros are all 8, the data say which it is.
#include <algorithm>
#include <utility>

#include "formats/container/text.h"
#include "formats/formats.h"
#include "formats/parts.h"

namespace zenwoq::formats {
namespace {

constexpr std::uint32_t one_in_each = 0x11111111u;
constexpr std::uint32_t eight_in_each = 0x88888888u;

struct GptqLayer final : LayerSource {
  Tensor qweight;
  Tensor qzeros;
  Tensor scales;
  std::uint32_t added = 0;                 // to each word of qzeros
  std::vector<std::uint32_t> permutation;  // empty if columns are in the order of their groups

  Prepared prepare(std::size_t) const override;
  std::vector<std::uint8_t> unpacked_zeros() const;
};

// [G,N], one a byte.
std::vector<std::uint8_t> GptqLayer::unpacked_zeros() const {
  std::vector<std::uint8_t> zeros;
  zeros.reserve(desc.n * groups_of(desc));
  for (std::size_t g = 0; g < groups_of(desc); ++g) {
    for (std::size_t n = 0; n < desc.n; ++n) {
      zeros.push_back(half_byte(word_at(qzeros, g, n / word_codes) + added, n % word_codes));
    }
  }
  return zeros;
}

Prepared GptqLayer::prepare(std::size_t) const {
  Prepared prepared;
  prepared.set_codes(ZENWOQ_CODES_GPTQ, qweight.data);
  prepared.by_group();
  prepared.set_scales(scales.data);
  if (desc.zero_kind == ZENWOQ_ZERO_INTEGER) prepared.set_zeros(prepared.own(unpacked_zeros()));
  if (!permutation.empty()) prepared.set_permutation(permutation);
  return prepared;
}

bool all_words_are(const Tensor& words, std::uint32_t value) {
  for (std::size_t at = 0; at < words.data.size(); at += 4) {
    if (words.data.read_le<std::uint32_t>(at) != value) return false;
  }
  return true;
}

// What the configuration says of all weights.
struct GptqConfig {
  std::string reason;            // why none is read; empty if they are
  std::uint64_t group_size = 0;  // 0: a group is a row
  bool symmetric = false;
  bool stores_zero_minus_one = true;
};

GptqConfig read_config(const JsonFields& fields) {
  GptqConfig config;
  if (fields.empty()) {
    config.reason = "no quantization_config beside it says what it is";
    return config;
  }
  const std::int64_t bits = fields.integer("bits").value_or(0);
  const std::int64_t group_size = fields.integer("group_size").value_or(0);
  std::string format = lower_case(fields.text("checkpoint_format").value_or(""));
  if (format.empty()) format = lower_case(fields.text("format").value_or("gptq"));
  if (bits != 4) {
    config.reason = formatted("gptq of {} bits, only 4 are read", bits);
  } else if (format != "gptq" && format != "gptq_v2" && format != "gptq_p") {
    config.reason = formatted("gptq in the format {}, not read", shown(format));
  } else if (group_size < -1 || group_size == 0) {
    config.reason = formatted("gptq of group_size {}", group_size);
  }
  config.group_size = group_size < 0 ? 0 : static_cast<std::uint64_t>(group_size);
  config.symmetric = fields.flag("sym").value_or(false);
  config.stores_zero_minus_one = format == "gptq";
  return config;
}

// AutoRound's own name for itself: what it stores as "auto_round" is asymmetric with zero points as they are.
void read_auto_round(const JsonFields& fields, GptqConfig* config) {
  const std::string packing = lower_case(fields.text("packing_format").value_or(""));
  if (packing == "auto_round" || packing == "auto_round:auto_gptq" || packing == "auto_round:gptq") {
    config->stores_zero_minus_one = packing != "auto_round";
  } else if (config->reason.empty()) {
    config->reason = formatted("auto-round of packing_format {}, not read", shown(packing));
  }
}

// What is added to the words of qzeros.
std::uint32_t words_to_zeros(const Tensor& qzeros, const GptqConfig& config) {
  if (config.symmetric && all_words_are(qzeros, eight_in_each)) return 0;
  if (config.symmetric && all_words_are(qzeros, eight_in_each - one_in_each)) return one_in_each;
  return config.stores_zero_minus_one ? one_in_each : 0;
}

std::string dtype_reason(const TensorMap& parts, const std::string& where) {
  for (const char* part : {"qweight", "qzeros"}) {
    const Tensor& tensor = require_part(parts, part, where);
    if (tensor.dtype != "I32") return formatted("gptq with {} {}", lower_case(shown(tensor.dtype)), part);
    if (is_empty(tensor)) return empty_reason(tensor);
    if (tensor.shape.size() != 2) return formatted("{}-D {}, not of a linear", tensor.shape.size(), part);
  }
  const Tensor& scales = require_part(parts, "scales", where);
  if (!float_type(scales.dtype)) return formatted("{} scales", lower_case(shown(scales.dtype)));
  if (scales.shape.size() != 2) return formatted("{}-D scales, not of a linear", scales.shape.size());
  return {};
}

// K: as many as g_idx has if that fits the words of qweight, which may be short of the last one's codes.
std::uint64_t columns_of(const TensorMap& parts, const std::string& where) {
  const std::uint64_t words = parts.at("qweight").shape[0];
  const auto g_idx = parts.find("g_idx");
  if (g_idx == parts.end()) return words * word_codes;
  require_dtype(g_idx->second, "g_idx", "I32", where);
  const std::uint64_t k = g_idx->second.data.size() / 4;
  require_shape(g_idx->second, "g_idx", {k}, where);
  return k;
}

// Why shapes are those of another number of bits or of other groups, as files of mixed precision have them; empty if
// they are not.
std::string shape_reason(const TensorMap& parts, std::uint64_t k, std::uint64_t group) {
  const Tensor& qweight = parts.at("qweight");
  const Tensor& qzeros = parts.at("qzeros");
  const Tensor& scales = parts.at("scales");
  const std::uint64_t n = qweight.shape[1];
  const std::uint64_t groups = k / group + (k % group != 0 ? 1 : 0);
  const bool fits = qweight.shape[0] == words_for(k) && n % word_codes == 0 &&
                    is_matrix(qzeros, groups, n / word_codes) && is_matrix(scales, groups, n);
  if (fits) return {};
  return formatted("gptq with qweight {}, qzeros {}, scales {}: not 4 bits in groups of {}", shown(qweight.shape),
                   shown(qzeros.shape), shown(scales.shape), group);
}

std::unique_ptr<GptqLayer> make_layer(TensorMap& parts, std::uint64_t k, std::uint64_t group, const GptqConfig& config,
                                      std::vector<std::uint32_t> permutation, const std::string& where) {
  auto layer = std::make_unique<GptqLayer>();
  layer->desc.permuted = permutation.empty() ? 0 : 1;
  layer->permutation = std::move(permutation);
  layer->qweight = std::move(parts.at("qweight"));
  layer->qzeros = std::move(parts.at("qzeros"));
  layer->scales = std::move(parts.at("scales"));
  layer->where = where;
  layer->format = "gptq";
  layer->bytes = layer->qweight.data.size() + layer->qzeros.data.size() + layer->scales.data.size();
  layer->desc.n = layer->qweight.shape[1];
  layer->desc.k = k;
  layer->desc.group_size = group_size_or_channel(group, k);
  layer->desc.scale_type = *float_type(layer->scales.dtype);
  layer->added = words_to_zeros(layer->qzeros, config);
  const bool symmetric = all_words_are(layer->qzeros, eight_in_each - layer->added);
  layer->desc.zero_kind = symmetric ? ZENWOQ_ZERO_NONE : ZENWOQ_ZERO_INTEGER;
  return layer;
}

void import_weight(TensorSet& set, const std::string& name, const GptqConfig& config, FoundLayers& found) {
  const std::string where = formatted("{}: weight {}.weight", set.where, name);
  TensorMap parts = take_parts(set, name, {"qweight", "qzeros", "scales", "g_idx"});
  std::string reason = config.reason.empty() ? dtype_reason(parts, where) : config.reason;
  std::uint64_t k = 0, group = 0;
  if (reason.empty()) {
    k = columns_of(parts, where);
    if (k == 0) fail("{}: g_idx has no values", where);
    group = config.group_size == 0 ? k : std::min(config.group_size, k);
    reason = shape_reason(parts, k, group);
  }
  ColumnOrder order;
  if (const auto g_idx = parts.find("g_idx"); reason.empty() && g_idx != parts.end()) {
    order = read_order(g_idx->second, k, group, "g_idx", where);
    reason = order.reason;
  }
  add_layer(
      set, name, std::move(reason),
      [&] { return make_layer(parts, k, group, config, std::move(order.permutation), where); }, found);
}

}  // namespace

void find_gptq(Contents& contents, FoundLayers& found) {
  const std::vector<std::string> names = names_before(contents.set, ".qweight");
  if (names.empty()) return;
  const JsonFields& fields = contents.quantization_config();
  GptqConfig config = read_config(fields);
  const std::string method = lower_case(fields.text("quant_method").value_or("gptq"));
  if (method == "auto-round")
    read_auto_round(fields, &config);
  else if (!fields.empty() && method != "gptq")
    config.reason = formatted("qweight of {}, not read", shown(method));
  for (const std::string& name : names) import_weight(contents.set, name, config, found);
}

}  // namespace zenwoq::formats
