// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// TorchAO's Int4OpaqueTensor: codes as ATen packs them for its CPU kernel (_convert_weight_to_int4pack_for_cpu), scale
// and additive zero per group.
//
//   W[n,k] = (code[n,k] - 8) * S[g,n] + Z[g,n]      scale_and_zero[g,n] = {S, Z}
//
// The codes are cut into blocks of rows: 64 if ATen ran with AVX-512, 32 if with AVX2 (the file does not
// say which); the last block may be shorter. A block of nb rows is a run of nb/2 bytes for each k:
//   full block     byte i holds row i (low half) and row i + nb/2 (high half)
//   shorter block  byte i holds row 2i (low half) and row 2i + 1 (high half)
#include <algorithm>
#include <utility>

#include "formats/container/text.h"
#include "formats/formats.h"
#include "formats/parts.h"

namespace zenwoq::formats {
namespace {

using OpaqueLayout = ReadOptions::OpaqueLayout;

std::size_t block_rows(OpaqueLayout layout) { return layout == OpaqueLayout::avx512 ? 64 : 32; }

const char* layout_name(OpaqueLayout layout) { return layout == OpaqueLayout::avx512 ? "avx512" : "avx2"; }

// Where the codes of one row are.
struct RowCodes {
  const std::uint8_t* bytes;  // of k = 0
  std::size_t step;           // from one k to the next
  unsigned shift;             // 0 or 4: the half of the byte

  unsigned at(std::size_t k) const { return (bytes[k * step] >> shift) & 15u; }
};

struct OpaqueLayer final : LayerSource {
  OpaqueLayout layout = OpaqueLayout::avx512;
  ByteView qdata;
  ByteView scale_and_zero;
  std::vector<float> x_scale;  // act_pre_scale, or empty

  Prepared prepare(std::size_t) const override;
  RowCodes row_codes(std::size_t n, OpaqueLayout as_layout) const;
  std::vector<std::uint8_t> every_other(std::size_t part) const;
  bool is_stretched(std::size_t n, std::size_t group) const;
  std::size_t misfits(OpaqueLayout as_layout) const;
  std::size_t sampled_rows() const { return std::min<std::size_t>(desc.n, 256); }
  void check_layout() const;
};

RowCodes OpaqueLayer::row_codes(std::size_t n, OpaqueLayout as_layout) const {
  const std::size_t rows = block_rows(as_layout);
  const std::size_t first = n / rows * rows;
  const std::size_t here = std::min(rows, desc.n - first);
  const std::size_t row = n - first;
  const std::uint8_t* block = qdata.data() + first * desc.k / 2;
  const bool pairs = here < rows;
  const std::size_t byte = pairs ? row / 2 : row % (rows / 2);
  const bool high = pairs ? row % 2 != 0 : row >= rows / 2;
  return {block + byte, here / 2, high ? 4u : 0u};
}

// Whether TorchAO's quantizer stretched the group over all codes, from its minimum (code 0) to its maximum (code 15).
// It does not if all values are nearly the same, for example zeros: then it sets the scale to 1e-6, rounded to its
// type.
bool OpaqueLayer::is_stretched(std::size_t n, std::size_t group) const {
  return float_at(desc.scale_type, scale_and_zero.data(), 2 * (group * desc.n + n)) > 1.1e-6f;
}

// Of the groups of sampled rows, those that hold both code 0 and code 15 although they are not stretched, or do not
// although they are: hardly any with the right layout, many with another, which mixes the codes of two rows.
std::size_t OpaqueLayer::misfits(OpaqueLayout as_layout) const {
  const std::size_t group = group_of(desc);
  std::size_t count = 0;
  for (std::size_t i = 0; i < sampled_rows(); ++i) {
    const std::size_t n = i * desc.n / sampled_rows();
    const RowCodes codes = row_codes(n, as_layout);
    for (std::size_t g = 0; g < groups_of(desc); ++g) {
      unsigned seen = 0;
      for (std::size_t k = g * group; k < (g + 1) * group; ++k) seen |= 1u << codes.at(k);
      count += ((seen & 0x8001u) == 0x8001u) != is_stretched(n, g) ? 1 : 0;
    }
  }
  return count;
}

void OpaqueLayer::check_layout() const {
  const OpaqueLayout other = layout == OpaqueLayout::avx512 ? OpaqueLayout::avx2 : OpaqueLayout::avx512;
  const std::size_t here = misfits(layout);
  if (here <= 2) return;
  const std::size_t there = misfits(other);
  const std::size_t groups = sampled_rows() * groups_of(desc);
  if (there > groups / 20 || here <= 2 * there + 2) return;
  fail(
      "{}: was packed for {}, not for {}: read it with the opaque layout {} (of {} groups, {} have codes that do not fit "
      "their scale if read as packed for {}, {} for {})",
      where, layout_name(other), layout_name(layout), layout_name(other), groups, here, layout_name(layout), there,
      layout_name(other));
}

// The first (scales) or second (zeros) parts of the [G,N] pairs.
std::vector<std::uint8_t> OpaqueLayer::every_other(std::size_t part) const {
  const std::size_t bytes = float_bytes(desc.scale_type);
  std::vector<std::uint8_t> values(scale_and_zero.size() / 2);
  for (std::size_t i = 0; i < values.size() / bytes; ++i) {
    std::copy_n(scale_and_zero.data() + (2 * i + part) * bytes, bytes, values.data() + i * bytes);
  }
  return values;
}

Prepared OpaqueLayer::prepare(std::size_t) const {
  check_layout();
  Prepared prepared;
  prepared.set_codes(layout == OpaqueLayout::avx512 ? ZENWOQ_CODES_ATEN_64 : ZENWOQ_CODES_ATEN_32, qdata);
  prepared.by_group();
  prepared.set_scales(prepared.own(every_other(0)));
  prepared.set_zeros(prepared.own(every_other(1)));
  if (!x_scale.empty()) prepared.set_x_scale(x_scale);
  return prepared;
}

// Why a weight that does not contradict itself cannot be imported; empty if it can.
std::string reason_to_leave(const TensorMap& parts, const std::string& where) {
  for (const char* part : {"qzeros", "compensation"}) {
    if (parts.count(part) != 0) {
      return formatted("torchao opaque with {}, which zenwoq does not apply", part);
    }
  }
  if (const auto qdata = parts.find("qdata"); qdata != parts.end() && is_empty(qdata->second)) {
    return empty_reason(qdata->second);
  }
  const Tensor& scale_and_zero = require_part(parts, "scale_and_zero", where);
  if (!float_type(scale_and_zero.dtype)) {
    return formatted("torchao opaque with {} scales", lower_case(shown(scale_and_zero.dtype)));
  }
  const auto act_pre_scale = parts.find("act_pre_scale");
  if (act_pre_scale != parts.end() && !float_type(act_pre_scale->second.dtype)) {
    return formatted("torchao opaque with {} act_pre_scale", lower_case(shown(act_pre_scale->second.dtype)));
  }
  return {};
}

// The number of values in a group: 2 * qdata columns over the groups of scale_and_zero. Throws ReadError if the shapes
// do not fit each other.
std::uint64_t check_shapes(const Tensor& qdata, const Tensor& scale_and_zero, const std::string& where) {
  require_dtype(qdata, "qdata", "U8", where);
  if (qdata.shape.size() != 2) {
    fail("{}: qdata has shape {}, it should be [N, K/2]", where, shown(qdata.shape));
  }
  if (scale_and_zero.shape.size() != 3 || scale_and_zero.data.size() == 0) {
    fail("{}: scale_and_zero has shape {}, it should be [K/g, N, 2]", where, shown(scale_and_zero.shape));
  }
  const std::uint64_t n = qdata.shape[0];
  const std::uint64_t k = 2 * qdata.shape[1];  // fits: half of it is at most the file's size
  const std::uint64_t groups = scale_and_zero.shape[0];
  require_shape(scale_and_zero, "scale_and_zero", {groups, n, 2}, where);
  if (n % 16 != 0) fail("{}: has {} rows, ATen packs only multiples of 16", where, n);
  if (k % groups != 0) fail("{}: rows of {} values do not divide into {} groups", where, k, groups);
  return k / groups;
}

// What x is multiplied by, a factor a column: [K], or [1, K].
std::vector<float> read_x_scale(const Tensor& act_pre_scale, std::uint64_t k, const std::string& where) {
  if (act_pre_scale.shape != std::vector<std::uint64_t>{1, k})
    require_shape(act_pre_scale, "act_pre_scale", {k}, where);
  std::vector<float> factors(k);
  for (std::size_t i = 0; i < k; ++i) {
    factors[i] = float_at(*float_type(act_pre_scale.dtype), act_pre_scale.data.data(), i);
  }
  return factors;
}

// The layer of a weight without reason_to_leave; throws ReadError if sizes contradict each other.
std::unique_ptr<OpaqueLayer> check_layer(const TensorMap& parts, const std::string& where) {
  const Tensor& qdata = require_part(parts, "qdata", where);
  const Tensor& scale_and_zero = require_part(parts, "scale_and_zero", where);
  auto layer = std::make_unique<OpaqueLayer>();
  layer->where = where;
  layer->qdata = qdata.data;
  layer->scale_and_zero = scale_and_zero.data;
  const std::uint64_t group = check_shapes(qdata, scale_and_zero, where);
  layer->bytes = qdata.data.size() + scale_and_zero.data.size();
  layer->format = "torchao opaque";
  layer->desc.n = qdata.shape[0];
  layer->desc.k = 2 * qdata.shape[1];
  layer->desc.group_size = group_size_or_channel(group, layer->desc.k);
  layer->desc.scale_type = *float_type(scale_and_zero.dtype);
  layer->desc.zero_kind = ZENWOQ_ZERO_OFFSET;
  if (const auto act_pre_scale = parts.find("act_pre_scale"); act_pre_scale != parts.end()) {
    layer->x_scale = read_x_scale(act_pre_scale->second, layer->desc.k, where);
    layer->desc.x_scaled = 1;
  }
  zenwoq_code_table_fill(ZENWOQ_TABLE_MINUS_8, layer->desc.table);
  return layer;
}

void import_weight(TensorSet& set, const std::string& layer_name, OpaqueLayout layout, FoundLayers& found) {
  const std::string where = formatted("{}: weight {}.weight", set.where, layer_name);
  const std::string bias_name = layer_name + ".bias";
  const TensorMap parts = set.take_prefix(layer_name + "._weight_");
  std::string reason = reason_to_leave(parts, where);
  if (reason.empty()) reason = bias_reason(set, bias_name);
  std::unique_ptr<OpaqueLayer> layer;
  if (reason.empty()) {
    layer = check_layer(parts, where);
    reason = group_reason(group_of(layer->desc), layer->desc.k);
  }
  if (!reason.empty()) {
    found.left_alone.push_back({layer_name + ".weight", std::move(reason)});
    return;
  }
  layer->layout = layout;
  layer->name = layer_name;
  take_bias(set, bias_name, *layer);
  found.layers.push_back(std::move(layer));
}

}  // namespace

void find_torchao_opaque(Contents& contents, FoundLayers& found) {
  TensorSet& set = contents.set;
  std::vector<std::string> layer_names;  // collected before any is imported, because importing changes the set
  for (const auto& entry : set.tensors) {
    const std::string_view suffix = "._weight_scale_and_zero";
    if (has_suffix(entry.first, suffix)) layer_names.emplace_back(without_suffix(entry.first, suffix));
  }
  for (const std::string& layer_name : layer_names)
    import_weight(set, layer_name, contents.options.opaque_layout, found);
}

}  // namespace zenwoq::formats
