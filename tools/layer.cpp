// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Reads sources of every code layout, in the plainest way.
#include "tools/layer.h"

#include <algorithm>

#include "tools/api_handles.h"
#include "tools/code_places.h"

namespace zenwoq::tools {
namespace {

constexpr std::size_t kSuperGroups = 8;
constexpr std::size_t kHalfBytes = 2;

// [N, count] values of `bytes` bytes, or [count, N].
std::vector<std::uint8_t> read_array(const void* array, std::size_t n, std::size_t count, std::size_t bytes,
                                     bool by_group) {
  std::vector<std::uint8_t> values;
  const auto* from = static_cast<const std::uint8_t*>(array);
  for (std::size_t i = 0; from != nullptr && i < n * count; ++i) {
    const std::uint8_t* value = from + (by_group ? i % count * n + i / count : i) * bytes;
    values.insert(values.end(), value, value + bytes);
  }
  return values;
}

// ggml's get_scale_min_k4.
std::uint8_t q4_k_bits(const std::uint8_t* q, std::size_t j, bool minimum) {
  if (j < 4) return q[minimum ? j + 4 : j] & 63;
  return static_cast<std::uint8_t>((minimum ? q[j + 4] >> 4 : q[j + 4] & 15) | (q[minimum ? j : j - 4] >> 6) << 4);
}

std::uint8_t iq4_xs_bits(const std::uint8_t* block, std::size_t j) {
  const unsigned high = static_cast<unsigned>(block[2] | block[3] << 8) >> (2 * j) & 3u;
  return static_cast<std::uint8_t>(((block[4 + j / 2] >> (4 * (j % 2)) & 15u) | high << 4) - 32);
}

void append(std::vector<std::uint8_t>& to, const std::uint8_t* from, std::size_t bytes) {
  to.insert(to.end(), from, from + bytes);
}

// Scales and zeros that lie in blocks of GGUF.
void read_block(zenwoq_code_layout layout, const std::uint8_t* block, Layer& layer) {
  switch (layout) {
    case ZENWOQ_CODES_GGUF_Q4_1: append(layer.zeros, block + kHalfBytes, kHalfBytes); [[fallthrough]];
    case ZENWOQ_CODES_GGUF_Q4_0: return append(layer.scales, block, kHalfBytes);
    case ZENWOQ_CODES_GGUF_MXFP4: return append(layer.scales, block, 1);
    case ZENWOQ_CODES_GGUF_Q4_K:
      for (std::size_t j = 0; j < kSuperGroups; ++j) {
        layer.scales.push_back(q4_k_bits(block + 4, j, false));
        layer.zeros.push_back(q4_k_bits(block + 4, j, true));
      }
      append(layer.super_scales, block, kHalfBytes);
      layer.super_offsets.push_back(block[2]);
      layer.super_offsets.push_back(block[3] ^ 0x80);  // what is subtracted is an offset of the other sign
      return;
    case ZENWOQ_CODES_GGUF_IQ4_XS:
      for (std::size_t j = 0; j < kSuperGroups; ++j) layer.scales.push_back(iq4_xs_bits(block, j));
      return append(layer.super_scales, block, kHalfBytes);
    default: return;
  }
}

// Codes and bytes of a block of GGUF; 0 for other layouts.
std::pair<std::size_t, std::size_t> block_size(zenwoq_code_layout layout) {
  const std::size_t codes = layout == ZENWOQ_CODES_GGUF_Q4_K || layout == ZENWOQ_CODES_GGUF_IQ4_XS ? 256 : 32;
  const bool blocks = layout >= ZENWOQ_CODES_GGUF_Q4_0 && layout <= ZENWOQ_CODES_GGUF_IQ4_XS;
  return {blocks ? codes : 0, blocks ? default_stride(layout, 1, codes) : 0};
}

unsigned code_of(const zenwoq_weight_source& source, std::size_t n, std::size_t k, const LayerInfo& info,
                 std::size_t stride) {
  const auto* codes = static_cast<const std::uint8_t*>(source.codes);
  if (source.code_layout == ZENWOQ_CODES_U8 || source.code_layout == ZENWOQ_CODES_S8)
    return codes[n * stride + k] & 15u;
  const CodePlace place = code_place(source.code_layout, n, k, info.n, info.k, stride);
  return (codes[place.byte] >> (place.high ? 4 : 0)) & 15u;
}

float parameter(zenwoq_dtype type, const std::vector<std::uint8_t>& values, const std::vector<std::uint8_t>& supers,
                std::size_t i) {
  const float value = load_as_f32(type, values.data(), i);
  return supers.empty() ? value : value * load_as_f32(ZENWOQ_F16, supers.data(), i / kSuperGroups);
}

}  // namespace

float Layer::scale(std::size_t i) const { return parameter(info.scale_type, scales, super_scales, i); }

float Layer::zero(std::size_t i) const {
  return info.zero_kind == ZENWOQ_ZERO_FLOAT ? load_as_f32(info.zero_type, zeros.data(), i)
                                             : static_cast<float>(static_cast<std::int8_t>(zeros[i]));
}

float Layer::offset(std::size_t i) const { return parameter(info.scale_type, zeros, super_offsets, i); }

LayerInfo info_of(const LayerSource& source) {
  LayerInfo info;
  static_cast<Quantization&>(info) = quantization_of(source.desc);
  info.name = source.name;
  info.format = source.format;
  info.bias_type = source.bias_type;
  info.has_bias = source.has_bias();
  return info;
}

Layer read_layer(const LayerSource& layer_source, const formats::Prepared& prepared, std::size_t expert) {
  const zenwoq_weight_source& source = prepared.source;
  Layer layer;
  layer.info = info_of(layer_source);
  const LayerInfo& info = layer.info;
  const std::size_t stride =
      source.codes_row_bytes != 0 ? source.codes_row_bytes : default_stride(source.code_layout, info.n, info.k);
  layer.codes.resize(info.n * ((info.k + 1) / 2));
  for (std::size_t n = 0; n < info.n; ++n) {
    for (std::size_t k = 0; k < info.k; ++k) {
      std::uint8_t& byte = layer.codes[n * ((info.k + 1) / 2) + k / 2];
      byte = static_cast<std::uint8_t>(byte | code_of(source, n, k, info, stride) << (4 * (k % 2)));
    }
  }
  if (const auto [codes, bytes] = block_size(source.code_layout); codes != 0) {
    for (std::size_t n = 0; n < info.n; ++n) {
      const std::uint8_t* row = static_cast<const std::uint8_t*>(source.codes) + n * stride;
      for (std::size_t i = 0; i < info.k / codes; ++i) read_block(source.code_layout, row + i * bytes, layer);
    }
  } else {
    const bool by_group = source.parameters_by_group != 0;
    layer.scales = read_array(source.scales, info.n, info.groups(), info.scale_bytes(), by_group);
    layer.zeros = read_array(source.zeros, info.n, info.groups(), info.zero_bytes(), by_group);
    layer.super_scales = read_array(source.super_scales, info.n, info.supers(), kHalfBytes, by_group);
    layer.super_offsets = read_array(source.super_offsets, info.n, info.supers(), kHalfBytes, by_group);
  }
  if (source.permutation != nullptr) layer.permutation.assign(source.permutation, source.permutation + info.k);
  if (source.x_scale != nullptr) layer.x_scale.assign(source.x_scale, source.x_scale + info.k);
  const formats::ByteView bias = layer_source.has_bias() ? layer_source.bias_of(expert) : formats::ByteView();
  layer.bias.assign(bias.begin(), bias.end());
  return layer;
}

}  // namespace zenwoq::tools
