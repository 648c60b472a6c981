// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// DequantizeLinear of an initializer of 4 bits, whose result is the weight of a product.
//
//   0 x             I4 or U4, [K, N] or [N, K], all codes in one row, the even ones in low half bytes
//   1 x_scale       one number; or [N]; or, with block_size, for each n and each block along k, in the order of x
//   2 x_zero_point  of the type of x and the shape of the scales; 0 if there are none
#include <algorithm>
#include <optional>
#include <utility>

#include "formats/container/text.h"
#include "formats/onnx_graph.h"
#include "formats/parts.h"

namespace zenwoq::formats {
namespace {

enum Input : std::size_t { x_input, scales_input, zeros_input };

constexpr std::uint8_t sign_bit = 8;

struct DequantizeLayer final : LayerSource {
  Prepared prepare(std::size_t) const override;
  std::vector<std::uint8_t> rows_of_codes() const;
  std::vector<std::uint8_t> unpacked_zeros() const;
  std::vector<std::uint8_t> repeated_scale() const;

  ByteView codes, scales, zeros;
  bool by_row = false;       // codes are [N, K], scales and zeros [N, G]; else [K, N] and [G, N]
  bool one_scale = false;    // with one zero, for the whole weight
  std::uint8_t flipped = 0;  // bit of signed codes and zeros: they then count from 0 to 15
};

// [N, ceil(K/2)]
std::vector<std::uint8_t> DequantizeLayer::rows_of_codes() const {
  constexpr std::size_t tile = 64;  // k whose half bytes share a line of the result
  const std::size_t row_bytes = (desc.k + 1) / 2;
  std::vector<std::uint8_t> rows(desc.n * row_bytes);
  for (std::size_t k0 = 0; k0 < desc.k; k0 += tile) {
    for (std::size_t n = 0; n < desc.n; ++n) {
      for (std::size_t k = k0; k < std::min(desc.k, k0 + tile); ++k) {
        const unsigned code = nibble_at(codes, by_row ? n * desc.k + k : k * desc.n + n) ^ flipped;
        std::uint8_t& byte = rows[n * row_bytes + k / 2];
        byte = static_cast<std::uint8_t>(byte | code << (4 * (k % 2)));
      }
    }
  }
  return rows;
}

// In the order of the scales, one a byte.
std::vector<std::uint8_t> DequantizeLayer::unpacked_zeros() const {
  std::vector<std::uint8_t> all(desc.n * groups_of(desc));
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i] = static_cast<std::uint8_t>(nibble_at(zeros, one_scale ? 0 : i) ^ flipped);
  }
  return all;
}

std::vector<std::uint8_t> DequantizeLayer::repeated_scale() const {
  std::vector<std::uint8_t> all;
  all.reserve(desc.n * scales.size());
  for (std::size_t n = 0; n < desc.n; ++n) all.insert(all.end(), scales.begin(), scales.end());
  return all;
}

Prepared DequantizeLayer::prepare(std::size_t) const {
  Prepared prepared;
  prepared.set_codes(ZENWOQ_CODES_NIBBLES, prepared.own(rows_of_codes()));
  prepared.set_scales(one_scale ? prepared.own(repeated_scale()) : scales);
  if (desc.zero_kind == ZENWOQ_ZERO_INTEGER) prepared.set_zeros(prepared.own(unpacked_zeros()));
  if (!by_row) prepared.by_group();
  return prepared;
}

std::string inputs_reason(const OnnxGraph& graph, const OnnxNode& node) {
  std::string reason = graph.input_reason(node, x_input, "x");
  if (reason.empty()) reason = graph.floats_reason(node, scales_input, "x_scale");
  if (reason.empty()) reason = graph.input_reason(node, zeros_input, "x_zero_point");
  const Tensor& x = *graph.find(node.input(x_input));
  if (reason.empty() && is_empty(x)) reason = empty_reason(x);
  if (reason.empty() && x.shape.size() != 2) reason = formatted("{}-D, not the weight of a linear", x.shape.size());
  return reason;
}

// How scales lie.
struct Scales {
  std::vector<std::uint64_t> shape;
  std::uint64_t group = 0;  // k that share one
  bool one = false;         // for the whole weight
  std::string reason;       // why such ones are not read
};

Scales scales_of(const OnnxGraph& graph, const OnnxNode& node, bool by_row) {
  const std::vector<std::uint64_t>& shape = graph.find(node.input(x_input))->shape;
  const std::vector<std::uint64_t>& own = graph.find(node.input(scales_input))->shape;
  const std::size_t k_axis = by_row ? 1 : 0;
  const std::int64_t block = node.integer("block_size", 0), axis = node.integer("axis", 1);
  const auto at = static_cast<std::uint64_t>(axis < 0 ? axis + 2 : axis);
  Scales scales;
  scales.group = shape[k_axis];
  if (block == 0 && (own.empty() || own == std::vector<std::uint64_t>{1})) {
    scales.shape = own;
    scales.one = true;
  } else if (block < 0 || at > 1) {
    scales.reason = formatted("DequantizeLinear of axis {}, block_size {}", axis, block);
  } else if ((block == 0) == (at == k_axis)) {
    scales.reason = block == 0 ? "a scale for each k" : "blocks along n";
  } else if (block == 0) {
    scales.shape = {shape[at]};
  } else {
    scales.group = std::min(static_cast<std::uint64_t>(block), scales.group);
    scales.shape = shape;
    scales.shape[at] = blocks_for(shape[at], scales.group);
  }
  return scales;
}

void set_zeros(const Tensor& zeros, const Tensor& x, const Scales& scales, DequantizeLayer& layer) {
  require_dtype(zeros, "x_zero_point", x.dtype, layer.where);
  require_shape(zeros, "x_zero_point", scales.shape, layer.where);
  layer.zeros = zeros.data;
  layer.bytes += zeros.data.size();
  layer.desc.zero_kind = ZENWOQ_ZERO_INTEGER;
}

// Signed codes count from -8 on; so do unsigned ones with zeros, whose difference is the same.
std::unique_ptr<DequantizeLayer> make_layer(const OnnxGraph& graph, const OnnxNode& node, bool by_row,
                                            const Scales& scales, const std::string& where) {
  const Tensor& x = *graph.find(node.input(x_input));
  const Tensor& x_scale = *graph.find(node.input(scales_input));
  require_shape(x_scale, "x_scale", scales.shape, where);
  auto layer = std::make_unique<DequantizeLayer>();
  layer->where = where;
  layer->format = "onnx dequantizelinear";
  layer->codes = x.data;
  layer->scales = x_scale.data;
  layer->bytes = x.data.size() + x_scale.data.size();
  layer->by_row = by_row;
  layer->one_scale = scales.one;
  layer->flipped = x.dtype == "I4" ? sign_bit : 0;
  layer->desc.n = x.shape[by_row ? 0 : 1];
  layer->desc.k = x.shape[by_row ? 1 : 0];
  layer->desc.group_size = group_size_or_channel(scales.group, layer->desc.k);
  layer->desc.scale_type = *float_type(x_scale.dtype);
  if (const Tensor* zeros = graph.find(node.input(zeros_input))) {
    set_zeros(*zeros, x, scales, *layer);
  } else if (x.dtype == "U4") {
    zenwoq_code_table_fill(ZENWOQ_TABLE_UNSIGNED, layer->desc.table);
  }
  return layer;
}

// Why a bias is not read; empty if it is, or if there is none.
std::string set_bias(const OnnxGraph& graph, const OnnxUse& use, LayerSource& layer) {
  if (use.bias.empty()) return {};
  const Tensor* bias = graph.find(use.bias);
  if (bias == nullptr) return "its bias is no initializer";
  const bool fits = bias->shape == std::vector<std::uint64_t>{layer.desc.n} || is_matrix(*bias, 1, layer.desc.n);
  if (!fits || !float_type(bias->dtype) || !has_values(*bias)) {
    return formatted("its bias is {} {}", lower_case(bias->dtype), shown(bias->shape));
  }
  layer.bias = bias->data;
  layer.bias_type = *float_type(bias->dtype);
  return {};
}

}  // namespace

OnnxWeight read_onnx_dequantize(const OnnxGraph& graph, const OnnxNode& node, const OnnxUse& use,
                                const std::string& where) {
  std::string reason = inputs_reason(graph, node);
  if (reason.empty()) reason = std::string(use.reason);
  if (!reason.empty()) return {nullptr, std::move(reason)};
  Scales scales = scales_of(graph, node, use.by_row);
  if (!scales.reason.empty()) return {nullptr, std::move(scales.reason)};
  std::unique_ptr<DequantizeLayer> layer = make_layer(graph, node, use.by_row, scales, where);
  reason = set_bias(graph, use, *layer);
  if (!reason.empty()) return {nullptr, std::move(reason)};
  return {std::move(layer), {}};
}

}  // namespace zenwoq::formats
