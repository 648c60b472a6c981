// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// MXFP4 experts as gpt-oss keeps them (transformers' integrations/mxfp4.py).
//
//   W[e,n,k] = 2^(scale[e,n,k/32] - 127) * E2M1(code)
//
//   P_blocks  U8 [E, N, K/32, 16], two codes a byte, even k in the low half
//   P_scales  U8 [E, N, K/32]
//   P_bias    [E, N]
#include <utility>

#include "formats/container/text.h"
#include "formats/formats.h"
#include "formats/parts.h"

namespace zenwoq::formats {
namespace {

constexpr std::uint64_t group = 32;

std::string reason_to_leave(const Tensor& blocks, const Tensor& scales) {
  if (blocks.dtype != "U8" || scales.dtype != "U8") {
    return formatted("mxfp4 blocks of {} with {} scales", lower_case(shown(blocks.dtype)),
                     lower_case(shown(scales.dtype)));
  }
  if (is_empty(blocks)) return empty_reason(blocks);
  if (blocks.shape.size() != 4 || blocks.shape[3] != group / 2) {
    return formatted("mxfp4 blocks {}, must be [experts, N, K/32, 16]", shown(blocks.shape));
  }
  return {};
}

std::unique_ptr<PlainLayer> make_layer(const Tensor& blocks, const Tensor& scales, const std::string& where) {
  require_shape(scales, "scales", {blocks.shape[0], blocks.shape[1], blocks.shape[2]}, where);
  const std::vector<std::uint64_t> rows = {blocks.shape[1], blocks.shape[2] * blocks.shape[3]};  // of an expert
  auto layer = make_fp4({blocks.dtype, rows, blocks.data}, scales, ZENWOQ_E8M0, where);
  layer->format = "mxfp4";
  layer->experts = blocks.shape[0];
  return layer;
}

// The set has both tensors.
void import_weight(TensorSet& set, const std::string& name, FoundLayers& found) {
  const std::string where = formatted("{}: weight {}", set.where, name);
  const Tensor blocks = std::move(set.tensors.extract(name + "_blocks").mapped());
  const Tensor scales = std::move(set.tensors.extract(name + "_scales").mapped());
  std::string reason = reason_to_leave(blocks, scales);
  if (reason.empty()) reason = bias_reason(set, name + "_bias");
  if (!reason.empty()) {
    found.left_alone.push_back({name, std::move(reason)});
    return;
  }
  std::unique_ptr<PlainLayer> layer = make_layer(blocks, scales, where);
  layer->name = name;
  take_bias(set, name + "_bias", *layer);
  found.layers.push_back(std::move(layer));
}

}  // namespace

void find_gpt_oss(Contents& contents, FoundLayers& found) {
  for (const std::string& name : names_before(contents.set, "_blocks")) {
    if (contents.set.tensors.count(name + "_scales") != 0) import_weight(contents.set, name, found);
  }
}

}  // namespace zenwoq::formats
