// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Types of safetensors elements, and lookup by prefix.
#include "formats/container/tensor_set.h"

#include <algorithm>
#include <utility>

#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

// The bytes that shape and dtype call for; empty if that is not a whole number or does not fit in 64 bits.
std::optional<std::uint64_t> shape_bytes(const Tensor& tensor, std::uint64_t bits) {
  std::optional<std::uint64_t> total = bits;
  // Zeros first: [2^40, 2^40, 0] is an empty tensor, not an overflow.
  if (is_empty(tensor)) return 0;
  for (const std::uint64_t size : tensor.shape) {
    total = checked_product(*total, size);
    if (!total) return std::nullopt;
  }
  return *total % 8 == 0 ? std::optional(*total / 8) : std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> element_bits(const std::string& dtype) {
  struct Type {
    std::string_view name;
    std::uint64_t bits;
  };
  static constexpr Type types[] = {
      {"I4", 4},      {"U4", 4},  // of ONNX alone
      {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"BOOL", 8},        {"U8", 8},      {"I8", 8},
      {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F8_E8M0", 8}, {"I16", 16},
      {"U16", 16},    {"F16", 16},    {"BF16", 16},       {"I32", 32},        {"U32", 32},    {"F32", 32},
      {"I64", 64},    {"U64", 64},    {"F64", 64},        {"C64", 64}};
  const auto* found =
      std::find_if(std::begin(types), std::end(types), [&](const Type& type) { return type.name == dtype; });
  return found == std::end(types) ? std::nullopt : std::optional(found->bits);
}

std::optional<zenwoq_dtype> float_type(const std::string& dtype) {
  if (dtype == "F32") return ZENWOQ_F32;
  if (dtype == "F16") return ZENWOQ_F16;
  if (dtype == "BF16") return ZENWOQ_BF16;
  return std::nullopt;
}

void check_entry_count(std::uint64_t entries, std::uint64_t bytes, const std::string& where) {
  constexpr std::uint64_t always = 8192, bytes_of_each = 512;
  const std::uint64_t limit = always + bytes / bytes_of_each;
  if (entries <= limit) return;
  fail("{}: has more than {} tensors and pairs of metadata, too many for {} bytes", where, limit, bytes);
}

bool is_empty(const Tensor& tensor) {
  return std::find(tensor.shape.begin(), tensor.shape.end(), 0u) != tensor.shape.end();
}

void check_size(const Tensor& tensor, const std::string& where) {
  const std::optional<std::uint64_t> bits = element_bits(tensor.dtype);
  if (!bits) return;
  const std::optional<std::uint64_t> bytes = shape_bytes(tensor, *bits);
  if (bytes == tensor.data.size()) return;
  fail("{}: {} of shape {} has {} bytes, it should have {}", where, tensor.dtype, shown(tensor.shape),
       tensor.data.size(), bytes ? std::to_string(*bytes) : "more than there can be, or a broken number");
}

bool has_values(const Tensor& tensor) { return tensor.data.size() != 0 || is_empty(tensor); }

std::string empty_reason(const Tensor& tensor) { return formatted("shape {}, no values", shown(tensor.shape)); }

std::string plain_tensor_reason(const Tensor& tensor) {
  const std::string type = lower_case(shown(tensor.dtype, 20));
  if (!element_bits(tensor.dtype)) return formatted("unknown type {}", type);
  if (tensor.shape.size() > max_rank) {
    return formatted("{}-D {}, of more than {} dimensions", tensor.shape.size(), type, max_rank);
  }
  if (!has_values(tensor)) {
    return formatted("{}-D {}, values in a form that is not read", tensor.shape.size(), type);
  }
  const bool matrix_of_floats = tensor.shape.size() >= 2 && float_type(tensor.dtype);
  return formatted("{}-D {}{}", tensor.shape.size(), type, matrix_of_floats ? ", not quantized" : "");
}

StoredTensor stored(const Tensor& tensor) {
  return stored_floats(shown(tensor.dtype, 20), tensor.shape, tensor.data,
                       has_values(tensor) ? float_type(tensor.dtype) : std::nullopt);
}

bool TensorSet::has_prefix(const std::string& prefix) const {
  const auto first = tensors.lower_bound(prefix);
  return first != tensors.end() && first->first.starts_with(prefix);
}

TensorMap TensorSet::take_prefix(const std::string& prefix) {
  TensorMap taken;
  auto next = tensors.lower_bound(prefix);
  while (next != tensors.end() && next->first.starts_with(prefix)) {
    taken.emplace(next->first.substr(prefix.size()), std::move(next->second));
    next = tensors.erase(next);
  }
  return taken;
}

}  // namespace zenwoq::formats
