// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Checks of parts and biases, with messages that say what is there and what should be.
#include "formats/parts.h"

#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

constexpr std::size_t group_multiple = 8;  // of zenwoq_weight_desc.group_size

}  // namespace

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

std::string bias_reason(const TensorSet& set, const std::string& bias_name) {
  const auto found = set.tensors.find(bias_name);
  if (found == set.tensors.end() || float_type(found->second.dtype)) return {};
  return fmt::format("its bias is {}", lower_case(shown(found->second.dtype)));
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
  require_shape(found->second, "bias", {layer.desc.n}, layer.where);
  layer.bias_type = *float_type(found->second.dtype);
  layer.bias = found->second.data;
  set.tensors.erase(found);
}

std::string group_reason(std::uint64_t group, std::uint64_t k) {
  if (group_size_or_channel(group, k) % group_multiple == 0) return {};
  return fmt::format("groups of {}, not a multiple of {}", group, group_multiple);
}

}  // namespace zenwoq::formats
