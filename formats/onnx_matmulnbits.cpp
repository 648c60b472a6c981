// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// MatMulNBits of com.microsoft, as onnxruntime's quantizers and its model builder write it.
//
//   W[n,k] = scale[n,g] * (code[n,k] - zero[n,g])     g = k / block_size, or g_idx[k]
//
//   1 B            U8 [N, G, block_size/2], even k in the low half byte; codes beyond K are padding
//   2 scales       [N, G], or all of them in one dimension
//   3 zero_points  U8 [N, ceil(G/2)] with two a byte, or numbers as scales are; 8 if there are none
//   4 g_idx        I32 [K] or [G * block_size]
//   5 bias         [N]
//
// onnxruntime 1.32 ignores packed zero points beside g_idx; they are read as the operator defines them. accuracy_level
// says how activations may be rounded, and is not heeded.
#include <optional>
#include <utility>

#include "formats/container/text.h"
#include "formats/onnx_graph.h"
#include "formats/parts.h"

namespace zenwoq::formats {
namespace {

enum Input : std::size_t { b_input = 1, scales_input, zeros_input, g_idx_input, bias_input };

struct MatMulNBitsLayer final : LayerSource {
  Prepared prepare(std::size_t) const override;
  std::vector<std::uint8_t> unpacked_zeros() const;

  ByteView codes, scales, zeros;
  std::shared_ptr<const OnnxOrder> order;  // nullptr without g_idx
};

// [N,G], one a byte. Each row is packed on its own.
std::vector<std::uint8_t> MatMulNBitsLayer::unpacked_zeros() const {
  const std::size_t groups = groups_of(desc);
  std::vector<std::uint8_t> all;
  all.reserve(desc.n * groups);
  for (std::size_t n = 0; n < desc.n; ++n) {
    for (std::size_t g = 0; g < groups; ++g) all.push_back(nibble_at(zeros, n * ((groups + 1) / 2 * 2) + g));
  }
  return all;
}

Prepared MatMulNBitsLayer::prepare(std::size_t) const {
  Prepared prepared;
  prepared.set_codes(ZENWOQ_CODES_NIBBLES, codes, codes.size() / desc.n);
  prepared.set_scales(scales);
  if (desc.zero_kind == ZENWOQ_ZERO_INTEGER) prepared.set_zeros(prepared.own(unpacked_zeros()));
  if (desc.zero_kind == ZENWOQ_ZERO_FLOAT) prepared.set_zeros(zeros);
  if (desc.permuted != 0) prepared.set_permutation(order->columns.permutation);
  return prepared;
}

struct Sizes {
  std::uint64_t n = 0, k = 0, block = 0, blocks = 0;
};

std::string attributes_reason(const OnnxNode& node) {
  const std::int64_t bits = node.integer("bits", 4), block = node.integer("block_size", 0);
  if (bits != 4) return formatted("MatMulNBits of {} bits, only 4 are read", bits);
  if (node.integer("weight_prepacked", 0) != 0) return "MatMulNBits whose weight is packed for one machine";
  if (block < 16 || (block & (block - 1)) != 0) {
    return formatted("MatMulNBits of block_size {}, not a power of two from 16 on", block);
  }
  return {};
}

Sizes sizes_of(const OnnxNode& node, const std::string& where) {
  const std::int64_t k = node.integer("K", 0), n = node.integer("N", 0);
  if (k <= 0 || n <= 0) fail("{}: MatMulNBits of K = {}, N = {}: both must be at least 1", where, k, n);
  Sizes sizes;
  sizes.n = static_cast<std::uint64_t>(n);
  sizes.k = static_cast<std::uint64_t>(k);
  sizes.block = static_cast<std::uint64_t>(node.integer("block_size", 0));
  sizes.blocks = blocks_for(sizes.k, sizes.block);
  return sizes;
}

std::string zeros_reason(const OnnxGraph& graph, const OnnxNode& node) {
  std::string reason = graph.input_reason(node, zeros_input, "zero_points");
  if (!reason.empty() || node.input(zeros_input).empty()) return reason;
  const std::string& dtype = graph.find(node.input(zeros_input))->dtype;
  return dtype == "U8" || float_type(dtype) ? "" : formatted("{} zero_points", lower_case(dtype));
}

// Why an input has a type, or comes from a place, that is not read.
std::string inputs_reason(const OnnxGraph& graph, const OnnxNode& node) {
  std::string reason = graph.input_reason(node, b_input, "B");
  if (reason.empty() && graph.find(node.input(b_input))->dtype != "U8") {
    reason = formatted("MatMulNBits with {} B", lower_case(graph.find(node.input(b_input))->dtype));
  }
  if (reason.empty()) reason = graph.floats_reason(node, scales_input, "scales");
  if (reason.empty()) reason = zeros_reason(graph, node);
  if (reason.empty()) reason = graph.input_reason(node, g_idx_input, "g_idx");
  if (reason.empty() && !node.input(bias_input).empty()) reason = graph.floats_reason(node, bias_input, "bias");
  return reason;
}

// Throws ReadError unless the shape is [rows, columns], or all of that in one dimension.
void require_rows(const Tensor& tensor, const char* part, std::uint64_t rows, std::uint64_t columns,
                  const std::string& where) {
  const std::optional<std::uint64_t> all = checked_product(rows, columns);
  if (all && tensor.shape == std::vector<std::uint64_t>{*all}) return;
  require_shape(tensor, part, {rows, columns}, where);
}

void set_zeros(const Tensor& zeros, const Sizes& sizes, MatMulNBitsLayer& layer) {
  const bool packed = zeros.dtype == "U8";
  require_rows(zeros, "zero_points", sizes.n, packed ? blocks_for(sizes.blocks, 2) : sizes.blocks, layer.where);
  layer.zeros = zeros.data;
  layer.bytes += zeros.data.size();
  layer.desc.zero_kind = packed ? ZENWOQ_ZERO_INTEGER : ZENWOQ_ZERO_FLOAT;
  if (packed) return;
  layer.desc.zero_type = *float_type(zeros.dtype);
  zenwoq_code_table_fill(ZENWOQ_TABLE_UNSIGNED, layer.desc.table);
}

void set_bias(const Tensor& bias, MatMulNBitsLayer& layer) {
  require_shape(bias, "bias", {layer.desc.n}, layer.where);
  layer.bias = bias.data;
  layer.bias_type = *float_type(bias.dtype);
}

std::unique_ptr<MatMulNBitsLayer> make_layer(const OnnxGraph& graph, const OnnxNode& node, const Sizes& sizes,
                                             const std::string& where) {
  const Tensor& scales = *graph.find(node.input(scales_input));
  require_rows(scales, "scales", sizes.n, sizes.blocks, where);
  auto layer = std::make_unique<MatMulNBitsLayer>();
  layer->where = where;
  layer->format = "onnx matmulnbits";
  layer->codes = graph.find(node.input(b_input))->data;
  layer->scales = scales.data;
  layer->bytes = layer->codes.size() + layer->scales.size();
  layer->desc.n = sizes.n;
  layer->desc.k = sizes.k;
  layer->desc.group_size = sizes.block < sizes.k ? sizes.block : 0;
  layer->desc.scale_type = *float_type(scales.dtype);
  if (const Tensor* zeros = graph.find(node.input(zeros_input))) set_zeros(*zeros, sizes, *layer);
  if (const Tensor* bias = graph.find(node.input(bias_input))) set_bias(*bias, *layer);
  return layer;
}

}  // namespace

OnnxWeight read_onnx_matmulnbits(OnnxGraph& graph, const OnnxNode& node, const std::string& where) {
  std::string reason = attributes_reason(node);
  if (reason.empty()) reason = inputs_reason(graph, node);
  if (!reason.empty()) return {nullptr, std::move(reason)};
  const Sizes sizes = sizes_of(node, where);
  require_shape(*graph.find(node.input(b_input)), "B", {sizes.n, sizes.blocks, sizes.block / 2}, where);
  std::unique_ptr<MatMulNBitsLayer> layer = make_layer(graph, node, sizes, where);
  if (!node.input(g_idx_input).empty()) {
    layer->order = graph.order(node.input(g_idx_input), sizes.k, sizes.block, where);
    if (!layer->order) return {nullptr, "its g_idx is that of another K or block_size too"};
    if (!layer->order->columns.reason.empty()) return {nullptr, layer->order->columns.reason};
    layer->desc.permuted = layer->order->columns.permutation.empty() ? 0 : 1;
  }
  return {std::move(layer), {}};
}

}  // namespace zenwoq::formats
