// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The element types of GGUF tensors: name and size of each.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zenwoq/zenwoq.h"

namespace zenwoq::formats {

// The numbers that GGUF files give to the types that are imported.
constexpr std::uint32_t ggml_q4_0 = 2;
constexpr std::uint32_t ggml_q4_1 = 3;
constexpr std::uint32_t ggml_q4_k = 12;
constexpr std::uint32_t ggml_iq4_nl = 20;
constexpr std::uint32_t ggml_iq4_xs = 23;
constexpr std::uint32_t ggml_mxfp4 = 39;
constexpr std::uint32_t ggml_nvfp4 = 40;

struct GgmlType {
  std::uint32_t number;
  const char* name;
  std::uint32_t block_elements;  // a row is a whole number of blocks
  std::uint32_t block_bytes;
};

// nullptr for an unknown number.
const GgmlType* find_ggml_type(std::uint32_t number);

// nullptr for an unknown name, which is in small letters.
const GgmlType* find_ggml_type(std::string_view name);

// Bytes of a tensor of this shape, rows first; 0 for one without values and for a scalar in blocks. Throws ReadError if
// rows are no whole blocks, or if there are more bytes than there can be. `where` names the tensor.
std::uint64_t bytes_of(const GgmlType& type, const std::vector<std::uint64_t>& shape, const std::string& where);

// The zenwoq type of a ggml type, if it has one.
std::optional<zenwoq_dtype> float_type_of_ggml(std::uint32_t number);

// "q6_k, unpacked to f32: no kernel for it": why a tensor with that many dimensions is left alone.
std::string plain_ggml_reason(std::uint32_t number, std::size_t dimensions);

}  // namespace zenwoq::formats
