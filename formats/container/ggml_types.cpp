// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The table of ggml types as in gguf-py 0.19, except for q8_1, which no file holds: that is as in ggml-common.h.
#include "formats/container/ggml_types.h"

#include <algorithm>
#include <iterator>

#include "formats/container/byte_view.h"
#include "formats/container/ggml_blocks.h"
#include "formats/container/text.h"
#include "src/text/formatted.h"

namespace zenwoq::formats {
namespace {

constexpr GgmlType types[] = {
    {0, "f32", 1, 4},
    {1, "f16", 1, 2},
    {ggml_q4_0, "q4_0", 32, 18},
    {ggml_q4_1, "q4_1", 32, 20},
    {6, "q5_0", 32, 22},
    {7, "q5_1", 32, 24},
    {8, "q8_0", 32, 34},
    {9, "q8_1", 32, 36},
    {10, "q2_k", 256, 84},
    {11, "q3_k", 256, 110},
    {ggml_q4_k, "q4_k", 256, 144},
    {13, "q5_k", 256, 176},
    {14, "q6_k", 256, 210},
    {15, "q8_k", 256, 292},
    {16, "iq2_xxs", 256, 66},
    {17, "iq2_xs", 256, 74},
    {18, "iq3_xxs", 256, 98},
    {19, "iq1_s", 256, 50},
    {ggml_iq4_nl, "iq4_nl", 32, 18},
    {21, "iq3_s", 256, 110},
    {22, "iq2_s", 256, 82},
    {ggml_iq4_xs, "iq4_xs", 256, 136},
    {24, "i8", 1, 1},
    {25, "i16", 1, 2},
    {26, "i32", 1, 4},
    {27, "i64", 1, 8},
    {28, "f64", 1, 8},
    {29, "iq1_m", 256, 56},
    {30, "bf16", 1, 2},
    {34, "tq1_0", 256, 54},
    {35, "tq2_0", 256, 66},
    {ggml_mxfp4, "mxfp4", 32, 17},
    {ggml_nvfp4, "nvfp4", 64, 36},
    {41, "q1_0", 128, 18},
};

// Types that files had once. Their sizes do not matter any more.
struct RemovedType {
  std::uint32_t number;
  std::string_view name;
};

constexpr RemovedType removed_types[] = {
    {4, "q4_2"},      {5, "q4_3"},        {31, "q4_0_4_4"},   {32, "q4_0_4_8"},
    {33, "q4_0_8_8"}, {36, "iq4_nl_4_4"}, {37, "iq4_nl_4_8"}, {38, "iq4_nl_8_8"},
};

constexpr std::uint32_t read_types[] = {ggml_q4_0,   ggml_q4_1,  ggml_q4_k, ggml_iq4_nl,
                                        ggml_iq4_xs, ggml_mxfp4, ggml_nvfp4};

bool is_read(std::uint32_t number) {
  return std::find(std::begin(read_types), std::end(read_types), number) != std::end(read_types);
}

std::string reason_of_missing_type(std::uint32_t number) {
  for (const RemovedType& type : removed_types) {
    if (type.number == number) return formatted("{}, removed from GGUF: requantise the model", type.name);
  }
  return formatted("unknown type {}", number);
}

}  // namespace

const GgmlType* find_ggml_type(std::uint32_t number) {
  const auto* found = std::find_if(std::begin(types), std::end(types),
                                   [number](const GgmlType& type) { return type.number == number; });
  return found == std::end(types) ? nullptr : found;
}

const GgmlType* find_ggml_type(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(types), std::end(types), [name](const GgmlType& type) { return type.name == name; });
  return found == std::end(types) ? nullptr : found;
}

std::uint64_t bytes_of(const GgmlType& type, const std::vector<std::uint64_t>& shape, const std::string& where) {
  if (shape.empty()) return type.block_elements == 1 ? type.block_bytes : 0;
  if (std::find(shape.begin(), shape.end(), 0u) != shape.end()) return 0;
  if (shape.back() % type.block_elements != 0) {
    fail("{} has rows of {} values, {} needs a multiple of {}", where, shape.back(), type.name, type.block_elements);
  }
  std::optional<std::uint64_t> bytes = checked_product(shape.back() / type.block_elements, type.block_bytes);
  for (std::size_t i = 0; bytes && i + 1 < shape.size(); ++i) bytes = checked_product(*bytes, shape[i]);
  if (!bytes) fail("{} of shape {} has more bytes than there can be", where, shown(shape));
  return *bytes;
}

std::optional<zenwoq_dtype> float_type_of_ggml(std::uint32_t number) {
  switch (number) {
    case 0: return ZENWOQ_F32;
    case 1: return ZENWOQ_F16;
    case 30: return ZENWOQ_BF16;
    default: return std::nullopt;
  }
}

std::string plain_ggml_reason(std::uint32_t number, std::size_t dimensions) {
  const GgmlType* type = find_ggml_type(number);
  if (type == nullptr) return reason_of_missing_type(number);
  if (is_read(number)) return formatted("{}-D {}, only 2-D and 3-D are read", dimensions, type->name);
  if (find_unpack(number) != nullptr && dimensions > 0) {
    return formatted("{}, unpacked to f32: no kernel for it", type->name);
  }
  if (type->block_elements > 1) return formatted("{}, not a 4-bit type", type->name);
  return formatted("{}-D {}{}", dimensions, type->name, dimensions > 1 ? ", not quantized" : "");
}

}  // namespace zenwoq::formats
