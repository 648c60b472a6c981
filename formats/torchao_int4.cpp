// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// TorchAO's Int4Tensor (Int4WeightOnlyConfig with plain packing).
//
//   W[n,k] = scale[g,n] * q[n,k] + zero_point[g,n]
//
//   qdata       I8 [N, K/2] or, of experts, [E, N, K/2]: two values a byte in two's complement, even k in the low half
//   scale       [K/g, N], [E, K/g, N]
//   zero_point  the same
#include <utility>

#include "formats/container/text.h"
#include "formats/formats.h"
#include "formats/parts.h"
#include "formats/torchao_metadata.h"

namespace zenwoq::formats {
namespace {

std::string reason_to_leave(const WeightMetadata&, const TensorMap& parts, const std::string& where) {
  const Tensor& qdata = require_part(parts, "qdata", where);
  const Tensor& scale = require_part(parts, "scale", where);
  const Tensor& zero_point = require_part(parts, "zero_point", where);
  if (parts.count("act_pre_scale") != 0) return "torchao Int4Tensor with act_pre_scale, not read";
  if (is_empty(qdata)) return empty_reason(qdata);
  if (qdata.dtype != "I8" && qdata.dtype != "U8")
    return formatted("torchao Int4Tensor of {}", lower_case(shown(qdata.dtype)));
  const std::size_t dimensions = qdata.shape.size();
  if (dimensions != 2 && dimensions != 3)
    return formatted("{}-D, not the weight of a linear or of experts", dimensions);
  if (!float_type(scale.dtype)) return formatted("{} scales", lower_case(shown(scale.dtype)));
  if (zero_point.dtype != scale.dtype)
    return formatted("{} zero points beside {} scales", lower_case(shown(zero_point.dtype)),
                     lower_case(shown(scale.dtype)));
  return {};
}

std::unique_ptr<LayerSource> make_layer(const WeightMetadata&, const TensorMap& parts, const std::string& where) {
  const Tensor& qdata = parts.at("qdata");
  const Tensor& scale = parts.at("scale");
  const bool experts = qdata.shape.size() == 3;
  const std::uint64_t n = qdata.shape[experts ? 1 : 0], k = qdata.shape.back() * 2;
  const std::uint64_t groups = scale.shape.size() == qdata.shape.size() ? scale.shape[experts ? 1 : 0] : 0;
  if (groups == 0 || k % groups != 0)
    fail("{}: rows of {} values do not divide into the groups of scale {}", where, k, shown(scale.shape));
  std::vector<std::uint64_t> shape = {groups, n};
  if (experts) shape.insert(shape.begin(), qdata.shape[0]);
  require_shape(scale, "scale", shape, where);
  require_shape(parts.at("zero_point"), "zero_point", shape, where);
  auto layer = std::make_unique<PlainLayer>();
  layer->where = where;
  layer->format = "torchao int4";
  layer->codes = qdata.data;
  layer->scales = scale.data;
  layer->zeros = parts.at("zero_point").data;
  layer->by_group = true;
  layer->bytes = layer->codes.size() + layer->scales.size() + layer->zeros.size();
  layer->experts = experts ? qdata.shape[0] : 1;
  layer->desc.n = n;
  layer->desc.k = k;
  layer->desc.group_size = group_size_or_channel(k / groups, k);
  layer->desc.scale_type = *float_type(scale.dtype);
  layer->desc.zero_kind = ZENWOQ_ZERO_OFFSET;
  zenwoq_code_table_fill(ZENWOQ_TABLE_TWOS_COMPLEMENT, layer->desc.table);
  return layer;
}

}  // namespace

const TensorClass torchao_int4 = {"Int4Tensor", reason_to_leave, make_layer};

}  // namespace zenwoq::formats
