// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// TorchAO's IntxUnpackedToInt8Tensor with int4 values (IntxWeightOnlyConfig): one signed value a byte, scales and zero
// points per group.
//
//   W[n,k] = scale[n,g] * (q[n,k] - zero_point[n,g])      q = qdata, int8 in -8..7
//
// In zenwoq's terms: ZENWOQ_CODES_S8 with the two's complement table, zero = zero_point + 8, so that table[code] + 8 -
// zero is q - zero_point. If all zero points are 0, the layer has none.
#include <algorithm>
#include <utility>

#include "formats/container/text.h"
#include "formats/formats.h"
#include "formats/parts.h"
#include "formats/torchao_metadata.h"

namespace zenwoq::formats {
namespace {

struct IntxLayer final : LayerSource {
  ByteView qdata;
  ByteView scale;
  ByteView zero_point;

  Prepared prepare(std::size_t) const override;
  std::vector<std::uint8_t> shifted_zero_points() const;
};

std::vector<std::uint8_t> IntxLayer::shifted_zero_points() const {
  std::vector<std::uint8_t> zeros;
  zeros.reserve(zero_point.size());
  const std::size_t groups = groups_of(desc);
  for (const std::uint8_t byte : zero_point) {
    const auto value = static_cast<std::int8_t>(byte);
    if (value < -8 || value > 8) {
      fail("{}: row {}, group {} of zero_point holds {}, zero points are -8 to 8", where, zeros.size() / groups,
           zeros.size() % groups, value);
    }
    zeros.push_back(static_cast<std::uint8_t>(value + 8));
  }
  return zeros;
}

Prepared IntxLayer::prepare(std::size_t) const {
  Prepared prepared;
  prepared.set_codes(ZENWOQ_CODES_S8, qdata);
  prepared.set_scales(scale);
  if (desc.zero_kind == ZENWOQ_ZERO_INTEGER) prepared.set_zeros(prepared.own(shifted_zero_points()));
  return prepared;
}

// Whether all elements of a float tensor are +0 or -0.
bool is_all_zero(const Tensor& floats, zenwoq_dtype type) {
  const std::size_t count = floats.data.size() / float_bytes(type);
  for (std::size_t i = 0; i < count; ++i) {
    if (float_at(type, floats.data.data(), i) != 0.0f) return false;
  }
  return true;
}

bool is_all_zero(const Tensor& bytes) {
  return std::all_of(bytes.data.begin(), bytes.data.end(), [](std::uint8_t byte) { return byte == 0; });
}

std::string zero_point_reason(const Tensor& zero_point) {
  if (zero_point.dtype == "I8") return {};
  const std::optional<zenwoq_dtype> type = float_type(zero_point.dtype);
  if (type && is_all_zero(zero_point, *type)) return {};
  return formatted("{} zero points, only int8 ones are read", lower_case(shown(zero_point.dtype)));
}

// Why a weight that does not contradict itself cannot be imported; empty if it can.
std::string reason_to_leave(const WeightMetadata& metadata, const TensorMap& parts, const std::string& where) {
  if (metadata.target_dtype != "int4") {
    return formatted("{} values, not int4", shown(metadata.target_dtype));
  }
  if (!metadata.activation_quantization.empty()) {
    return formatted("activations are quantized too ({})", shown(metadata.activation_quantization));
  }
  const Tensor& qdata = require_part(parts, "qdata", where);
  if (is_empty(qdata)) return empty_reason(qdata);
  if (qdata.shape.size() != 2) return formatted("{}-D, not the weight of a linear", qdata.shape.size());
  if (metadata.block_size.size() != 2 || metadata.block_size[0] != 1) {
    return formatted("block_size {}, only [1, g] is read", shown(metadata.block_size));
  }
  std::string reason = group_reason(metadata.block_size[1], qdata.shape[1]);
  if (!reason.empty()) return reason;
  const Tensor& scale = require_part(parts, "scale", where);
  if (!float_type(scale.dtype)) return formatted("{} scales", lower_case(shown(scale.dtype)));
  return zero_point_reason(require_part(parts, "zero_point", where));
}

// The layer of a weight without reason_to_leave; throws ReadError if sizes contradict each other.
std::unique_ptr<LayerSource> make_layer(const WeightMetadata& metadata, const TensorMap& parts,
                                        const std::string& where) {
  const std::uint64_t group = metadata.block_size[1];
  const Tensor& qdata = require_part(parts, "qdata", where);
  const Tensor& scale = require_part(parts, "scale", where);
  const Tensor& zero_point = require_part(parts, "zero_point", where);
  require_dtype(qdata, "qdata", "I8", where);
  const std::uint64_t n = qdata.shape[0];
  const std::uint64_t k = qdata.shape[1];
  if (k % group != 0) fail("{}: rows of {} values do not divide into groups of {}", where, k, group);
  require_shape(scale, "scale", {n, k / group}, where);
  require_shape(zero_point, "zero_point", {n, k / group}, where);

  auto layer = std::make_unique<IntxLayer>();
  layer->where = where;
  layer->qdata = qdata.data;
  layer->scale = scale.data;
  layer->zero_point = zero_point.data;
  layer->bytes = qdata.data.size() + scale.data.size() + zero_point.data.size();
  layer->format = "torchao intx";
  layer->desc.n = n;
  layer->desc.k = k;
  layer->desc.group_size = group_size_or_channel(group, k);
  layer->desc.scale_type = *float_type(scale.dtype);
  const bool symmetric = zero_point.dtype != "I8" || is_all_zero(zero_point);
  layer->desc.zero_kind = symmetric ? ZENWOQ_ZERO_NONE : ZENWOQ_ZERO_INTEGER;
  zenwoq_code_table_fill(ZENWOQ_TABLE_TWOS_COMPLEMENT, layer->desc.table);
  return layer;
}

}  // namespace

const TensorClass torchao_intx = {"IntxUnpackedToInt8Tensor", reason_to_leave, make_layer};

}  // namespace zenwoq::formats
