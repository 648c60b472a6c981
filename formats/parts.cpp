// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Checks of parts and biases, with messages that say what is there and what should be.
#include "formats/parts.h"

#include <algorithm>

#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

constexpr std::size_t group_multiple = 8;  // of zenwoq_weight_desc.group_size

}  // namespace

std::vector<std::string> names_before(const TensorSet& set, std::string_view suffix) {
  std::vector<std::string> names;
  for (const auto& entry : set.tensors) {
    if (has_suffix(entry.first, suffix)) names.emplace_back(without_suffix(entry.first, suffix));
  }
  return names;
}

TensorMap take_parts(TensorSet& set, const std::string& layer, std::initializer_list<const char*> parts) {
  TensorMap taken;
  for (const char* part : parts) {
    const auto found = set.tensors.find(formatted("{}.{}", layer, part));
    if (found == set.tensors.end()) continue;
    taken.emplace(part, std::move(found->second));
    set.tensors.erase(found);
  }
  return taken;
}

std::vector<std::uint8_t> transposed(ByteView matrix, std::size_t rows, std::size_t columns,
                                     std::size_t element_bytes) {
  constexpr std::size_t tile = 16;  // rows and columns whose elements share lines of cache
  std::vector<std::uint8_t> out(matrix.size());
  for (std::size_t r0 = 0; r0 < rows; r0 += tile) {
    for (std::size_t c = 0; c < columns; ++c) {
      for (std::size_t r = r0; r < std::min(rows, r0 + tile); ++r) {
        std::memcpy(out.data() + (c * rows + r) * element_bytes, matrix.data() + (r * columns + c) * element_bytes,
                    element_bytes);
      }
    }
  }
  return out;
}

const Tensor& require_part(const TensorMap& parts, const std::string& part, const std::string& where) {
  const auto found = parts.find(part);
  if (found == parts.end()) {
    fail("{}: its {} is missing (of a checkpoint in several files, open the .index.json)", where, part);
  }
  return found->second;
}

void require_shape(const Tensor& tensor, const std::string& part, const std::vector<std::uint64_t>& shape,
                   const std::string& where) {
  if (tensor.shape != shape) {
    fail("{}: {} has shape {}, it should be {}", where, part, shown(tensor.shape), shown(shape));
  }
}

void require_dtype(const Tensor& tensor, const std::string& part, const std::string& dtype, const std::string& where) {
  if (tensor.dtype != dtype) {
    fail("{}: {} has type {}, it should be {}", where, part, shown(tensor.dtype), dtype);
  }
}

ColumnOrder read_order(const Tensor& g_idx, std::uint64_t k, std::uint64_t group, const std::string& part,
                       const std::string& where) {
  require_dtype(g_idx, part, "I32", where);
  require_shape(g_idx, part, {k}, where);
  std::vector<std::int32_t> groups(k);
  std::memcpy(groups.data(), g_idx.data.data(), k * sizeof groups[0]);
  ColumnOrder order;
  order.permutation.resize(k);
  std::uint32_t permuted = 0;
  const zenwoq_status status =
      zenwoq_permutation_fill(groups.data(), k * 4, k, group, order.permutation.data(), k * 4, &permuted);
  if (status == ZENWOQ_ERROR_OUT_OF_MEMORY) throw std::bad_alloc();
  if (status != ZENWOQ_OK) order.reason = zenwoq_last_error();
  if (status != ZENWOQ_OK || permuted == 0) order.permutation.clear();
  return order;
}

std::string fp4_reason(const Tensor& codes, const char* part, const Tensor& scales, std::uint64_t group) {
  if (is_empty(codes)) return empty_reason(codes);
  if (codes.shape.size() != 2) return formatted("{}-D, not the weight of a linear", codes.shape.size());
  const std::uint64_t k = codes.shape[1] * 2;  // fits: half of it is in the file
  if (k % group == 0 && is_matrix(scales, codes.shape[0], k / group)) return {};
  return formatted("{} {} with weight_scale {}: not in groups of {} along rows", part, shown(codes.shape),
                   shown(scales.shape), group);
}

std::unique_ptr<PlainLayer> make_fp4(const Tensor& codes, const Tensor& scales, zenwoq_dtype scale_type,
                                     const std::string& where) {
  auto layer = std::make_unique<PlainLayer>();
  layer->where = where;
  layer->codes = codes.data;
  layer->scales = scales.data;
  layer->bytes = codes.data.size() + scales.data.size();
  layer->desc.n = codes.shape[0];
  layer->desc.k = codes.shape[1] * 2;
  layer->desc.group_size = scale_type == ZENWOQ_E4M3 ? 16 : 32;
  layer->desc.scale_type = scale_type;
  zenwoq_code_table_fill(ZENWOQ_TABLE_E2M1, layer->desc.table);
  return layer;
}

void set_tensor_scale(const Tensor& tensor_scale, zenwoq_tensor_scale_kind kind, LayerSource& layer) {
  if (tensor_scale.dtype != "F32" || tensor_scale.data.size() != sizeof(float)) {
    fail("{}: its tensor scale is {} of shape {}, it should be one F32", layer.where, shown(tensor_scale.dtype),
         shown(tensor_scale.shape));
  }
  layer.desc.tensor_scale_kind = kind;
  layer.desc.tensor_scale = float_at(ZENWOQ_F32, tensor_scale.data.data(), 0);
}

std::string bias_reason(const TensorSet& set, const std::string& bias_name) {
  const auto found = set.tensors.find(bias_name);
  if (found == set.tensors.end() || float_type(found->second.dtype)) return {};
  return formatted("its bias is {}", lower_case(shown(found->second.dtype)));
}

void take_bias(TensorSet& set, const std::string& bias_name, LayerSource& layer) {
  const auto found = set.tensors.find(bias_name);
  if (found == set.tensors.end()) {
    const std::string name(without_suffix(bias_name, ":_data"));
    if (set.metadata.count(name) != 0) {
      fail(
          "{}: its bias is named by the metadata, but missing (of a checkpoint in several files, open the .index.json)",
          layer.where);
    }
    return;
  }
  std::vector<std::uint64_t> shape = {layer.desc.n};
  if (layer.experts != 1) shape.insert(shape.begin(), layer.experts);
  require_shape(found->second, "bias", shape, layer.where);
  layer.bias_type = *float_type(found->second.dtype);
  layer.bias = found->second.data;
  set.tensors.erase(found);
}

std::string group_reason(std::uint64_t group, std::uint64_t k) {
  if (group_size_or_channel(group, k) % group_multiple == 0) return {};
  return formatted("groups of {}, not a multiple of {}", group, group_multiple);
}

}  // namespace zenwoq::formats
