// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Reads sources of every code layout, in the plainest way.
#include "tools/layer.h"

#include <algorithm>

#include "tools/api_handles.h"

namespace zenwoq::tools {
namespace {

constexpr std::size_t kBlockValues = 32;
constexpr std::size_t kBlockCodeBytes = 16;
constexpr std::size_t kHalfBytes = 2;

bool is_blocks(zenwoq_code_layout layout) {
  return layout == ZENWOQ_CODES_GGUF_Q4_0 || layout == ZENWOQ_CODES_GGUF_Q4_1;
}

std::size_t block_bytes(zenwoq_code_layout layout) {
  return kBlockCodeBytes + kHalfBytes * (layout == ZENWOQ_CODES_GGUF_Q4_1 ? 2 : 1);
}

std::size_t row_bytes(zenwoq_code_layout layout, std::size_t k) {
  if (is_blocks(layout)) return k / kBlockValues * block_bytes(layout);
  return layout == ZENWOQ_CODES_NIBBLES ? (k + 1) / 2 : k;
}

// The code of value k of a row.
unsigned code_of(zenwoq_code_layout layout, const std::uint8_t* row, std::size_t k) {
  switch (layout) {
    case ZENWOQ_CODES_NIBBLES: return (row[k / 2] >> (4 * (k % 2))) & 15u;
    case ZENWOQ_CODES_U8:
    case ZENWOQ_CODES_S8: return row[k] & 15u;
    case ZENWOQ_CODES_GGUF_Q4_0:
    case ZENWOQ_CODES_GGUF_Q4_1: {
      const std::uint8_t* end = row + (k / kBlockValues + 1) * block_bytes(layout);
      const std::size_t in_block = k % kBlockValues;
      return (end[-static_cast<int>(kBlockCodeBytes) + static_cast<int>(in_block % kBlockCodeBytes)] >>
              (in_block < kBlockCodeBytes ? 0 : 4)) &
             15u;
    }
  }
  throw ToolError(fmt::format("codes of layout {} cannot be checked", static_cast<int>(layout)));
}

// Scales and zeros that lie in the blocks.
void read_block_parameters(const zenwoq_weight_source& source, Layer& layer) {
  const auto* block = static_cast<const std::uint8_t*>(source.codes);
  const std::size_t count = layer.info.n * layer.info.groups();
  for (std::size_t i = 0; i < count; ++i, block += block_bytes(source.code_layout)) {
    layer.scales.insert(layer.scales.end(), block, block + kHalfBytes);
    if (source.code_layout == ZENWOQ_CODES_GGUF_Q4_0) continue;
    layer.zeros.insert(layer.zeros.end(), block + kHalfBytes, block + 2 * kHalfBytes);
  }
}

void read_array(const void* array, std::size_t bytes, std::vector<std::uint8_t>& out) {
  const auto* begin = static_cast<const std::uint8_t*>(array);
  if (begin != nullptr) out.assign(begin, begin + bytes);
}

}  // namespace

LayerInfo info_of(const LayerSource& source) {
  LayerInfo info;
  static_cast<Quantization&>(info) = quantization_of(source.desc);
  info.name = source.name;
  info.format = source.format;
  info.bias_type = source.bias_type;
  info.has_bias = source.has_bias();
  return info;
}

Layer read_layer(const LayerSource& layer_source, const formats::Prepared& prepared) {
  const zenwoq_weight_source& source = prepared.source;
  Layer layer;
  layer.info = info_of(layer_source);
  const std::size_t n_rows = layer.info.n, k_values = layer.info.k, out_row = (k_values + 1) / 2;
  const std::size_t stride =
      source.codes_row_bytes != 0 ? source.codes_row_bytes : row_bytes(source.code_layout, k_values);
  layer.codes.resize(n_rows * out_row);
  for (std::size_t n = 0; n < n_rows; ++n) {
    const std::uint8_t* row = static_cast<const std::uint8_t*>(source.codes) + n * stride;
    for (std::size_t k = 0; k < k_values; ++k) {
      std::uint8_t& byte = layer.codes[n * out_row + k / 2];
      byte = static_cast<std::uint8_t>(byte | code_of(source.code_layout, row, k) << (4 * (k % 2)));
    }
  }
  const std::size_t parameters = n_rows * layer.info.groups();
  if (is_blocks(source.code_layout)) read_block_parameters(source, layer);
  read_array(source.scales, parameters * layer.info.scale_bytes(), layer.scales);
  read_array(source.zeros, parameters * layer.info.zero_bytes(), layer.zeros);
  const formats::ByteView bias = layer_source.has_bias() ? layer_source.bias_of(0) : formats::ByteView();
  layer.bias.assign(bias.begin(), bias.end());
  return layer;
}

}  // namespace zenwoq::tools
