// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Any description and source: refused with a sentence, or packed, opened again and run in every tier with the same
// bits. Arrays are as large as they claim to be, in memory of exactly that size.
#include <algorithm>
#include <cstdlib>

#include "tests/fuzz/fuzz.h"

using namespace zenwoq::fuzz;

namespace {

// A number that is mostly one of the first `known`.
int kind(Input& input, int known) {
  const auto byte = input.take<std::uint8_t>();
  return byte == 255 ? -1 : byte % (known + 1);
}

// Any size, near what is needed or far from it.
std::size_t claimed(Input& input, std::size_t about) {
  const auto byte = input.take<std::int8_t>();
  if (byte == -128) return 0;
  const std::size_t change = static_cast<std::size_t>(std::abs(byte) % 4);
  return byte >= -100 ? about : about > change ? about - change : 0;
}

zenwoq_weight_desc description(Input& input) {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  const auto form = input.take<std::uint8_t>();
  desc.n = input.pick(form & 1 ? 0 : 1, 130);
  desc.k = form & 2 ? 16 * input.pick(1, 40) : input.pick(form & 1 ? 0 : 1, 600);
  desc.group_size = form & 4 ? 0 : 8 * input.pick(1, 20);
  if (form & 8) desc.group_size = form & 16 ? 32 : 16;
  if (form == 0xFF) desc.group_size = input.take<std::uint64_t>();
  if (form == 0xFE) desc.n = input.take<std::uint64_t>(), desc.k = input.take<std::uint64_t>();
  desc.scale_type = static_cast<zenwoq_dtype>(kind(input, 8));
  desc.zero_kind = static_cast<zenwoq_zero_kind>(kind(input, 4));
  desc.zero_type = static_cast<zenwoq_dtype>(kind(input, 4));
  (void)zenwoq_code_table_fill(static_cast<zenwoq_code_table>(kind(input, 7)), desc.table);
  if (form & 32) desc.table[input.take<std::uint8_t>() % 16] = input.take<float>();
  desc.tensor_scale_kind = static_cast<zenwoq_tensor_scale_kind>(kind(input, 3));
  desc.tensor_scale = input.take<float>();
  const auto flags = input.take<std::uint8_t>();
  desc.permuted = flags % 3;
  desc.x_scaled = flags / 3 % 3;
  desc.reserved = flags == 255;
  return desc;
}

// The arrays of a source.
struct Arrays {
  std::vector<std::uint8_t> codes, scales, zeros, super_scales, super_offsets;
  std::vector<std::uint32_t> permutation;
  std::vector<float> x_scale;
};

// A permutation that is one, but for some inputs.
std::vector<std::uint32_t> permutation_of(Input& input, std::size_t k) {
  std::vector<std::uint32_t> places(k);
  for (std::size_t i = 0; i < k; ++i) places[i] = static_cast<std::uint32_t>(i);
  for (std::size_t i = k; i > 1; --i) std::swap(places[i - 1], places[input.take<std::uint8_t>() % i]);
  if (k != 0 && input.take<std::uint8_t>() == 255) places[0] = input.take<std::uint32_t>();
  return places;
}

zenwoq_weight_source source_of(Input& input, const zenwoq_weight_desc& desc, Arrays& arrays) {
  zenwoq_weight_source source;
  zenwoq_weight_source_init(&source);
  const std::size_t n = std::min<std::size_t>(desc.n, 200), k = std::min<std::size_t>(desc.k, 700);
  const std::size_t group = desc.group_size == 0 || desc.group_size > k ? std::max<std::size_t>(k, 1) : desc.group_size;
  const std::size_t groups = (k + group - 1) / group;
  source.code_layout = static_cast<zenwoq_code_layout>(kind(input, 14));
  source.parameters_by_group = input.take<std::uint8_t>() % 3;
  const bool bytes = source.code_layout == ZENWOQ_CODES_U8 || source.code_layout == ZENWOQ_CODES_S8;
  const std::size_t code_bytes = bytes                                     ? n * k
                                 : source.code_layout == ZENWOQ_CODES_GPTQ ? (k + 7) / 8 * n * 4
                                                                           : n * ((k + 1) / 2) + n * groups * 4;
  const auto fill = [&](std::vector<std::uint8_t>& array, std::size_t about, const void** data, std::size_t* size) {
    array = input.bytes(claimed(input, about));
    array.shrink_to_fit();
    *data = array.empty() ? nullptr : array.data();
    *size = array.size();
  };
  fill(arrays.codes, code_bytes, &source.codes, &source.codes_bytes);
  if (source.code_layout == ZENWOQ_CODES_U8)
    for (std::uint8_t& byte : arrays.codes) byte &= 15;
  if (source.code_layout == ZENWOQ_CODES_S8)
    for (std::uint8_t& byte : arrays.codes) byte = static_cast<std::uint8_t>(byte % 16 - 8);
  const auto of_type = [](int type) -> std::size_t { return type == ZENWOQ_F32 ? 4 : type <= ZENWOQ_BF16 ? 2 : 1; };
  const bool two = desc.scale_type == ZENWOQ_U8_F16 || desc.scale_type == ZENWOQ_S8_F16;
  const bool blocks = source.code_layout >= ZENWOQ_CODES_GGUF_Q4_0 && source.code_layout <= ZENWOQ_CODES_GGUF_IQ4_XS;
  if (!blocks || input.take<std::uint8_t>() == 255) {
    fill(arrays.scales, n * groups * of_type(desc.scale_type), &source.scales, &source.scales_bytes);
    const std::size_t zero_bytes = desc.zero_kind == ZENWOQ_ZERO_NONE      ? 0
                                   : desc.zero_kind == ZENWOQ_ZERO_INTEGER ? 1
                                   : desc.zero_kind == ZENWOQ_ZERO_FLOAT   ? of_type(desc.zero_type)
                                                                           : of_type(desc.scale_type);
    fill(arrays.zeros, n * groups * zero_bytes, &source.zeros, &source.zeros_bytes);
    if (desc.zero_kind == ZENWOQ_ZERO_INTEGER)
      for (std::uint8_t& zero : arrays.zeros) zero = static_cast<std::uint8_t>(zero % (zero < 250 ? 17 : 255));
    if (two) fill(arrays.super_scales, n * (groups / 8) * 2, &source.super_scales, &source.super_scales_bytes);
    if (two && desc.zero_kind == ZENWOQ_ZERO_OFFSET) {
      fill(arrays.super_offsets, n * (groups / 8) * 2, &source.super_offsets, &source.super_offsets_bytes);
    }
  }
  if (desc.permuted == 1) {
    arrays.permutation = permutation_of(input, k);
    source.permutation = arrays.permutation.data(), source.permutation_bytes = arrays.permutation.size() * 4;
  }
  if (desc.x_scaled == 1) {
    arrays.x_scale.resize(k);
    for (float& factor : arrays.x_scale) factor = input.take<float>();
    source.x_scale = arrays.x_scale.data(), source.x_scale_bytes = k * 4;
  }
  return source;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const zenwoq_weight_desc desc = description(input);
  std::size_t packed_bytes = 0;
  if (zenwoq_weight_packed_bytes(&desc, &packed_bytes) != ZENWOQ_OK) {
    ZENWOQ_PROMISE(zenwoq_last_error()[0] != '\0');
    return 0;
  }
  if (packed_bytes > (1u << 20)) return 0;
  Arrays arrays;
  const std::size_t m = 1 + input.take<std::uint8_t>() % 5;
  const zenwoq_weight_source source = source_of(input, desc, arrays);
  zenwoq_weight* weight = nullptr;
  if (zenwoq_weight_create(contexts()[0], &desc, &source, &weight) != ZENWOQ_OK) {
    ZENWOQ_PROMISE(weight == nullptr && zenwoq_last_error()[0] != '\0');
    return 0;
  }
  const void* packed = nullptr;
  std::size_t bytes = 0;
  ZENWOQ_PROMISE(zenwoq_weight_packed(weight, &packed, &bytes) == ZENWOQ_OK && bytes == packed_bytes);
  zenwoq_weight* opened = nullptr;
  ZENWOQ_PROMISE(zenwoq_weight_open(packed, bytes, ZENWOQ_COPY, &opened) == ZENWOQ_OK);
  check_runs(opened, m, input);
  std::vector<float> values(desc.n * desc.k);
  ZENWOQ_PROMISE(zenwoq_weight_dequantize(opened, 0, desc.n, values.data(), values.size() * 4) == ZENWOQ_OK);
  zenwoq_weight_destroy(opened);
  zenwoq_weight_destroy(weight);
  return 0;
}
