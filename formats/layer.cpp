// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// From a layer's source to a packed weight.
#include "formats/layer.h"

#include <new>
#include <stdexcept>
#include <utility>

#include "formats/container/read_error.h"
#include "formats/zwq.h"

namespace zenwoq::formats {

void Prepared::set_codes(zenwoq_code_layout layout, ByteView codes, std::size_t row_bytes) {
  source.code_layout = layout;
  source.codes = codes.data();
  source.codes_bytes = codes.size();
  source.codes_row_bytes = row_bytes;
}

void Prepared::set_scales(ByteView scales) {
  source.scales = scales.data();
  source.scales_bytes = scales.size();
}

void Prepared::set_zeros(ByteView zeros) {
  source.zeros = zeros.data();
  source.zeros_bytes = zeros.size();
}

void Prepared::set_permutation(const std::vector<std::uint32_t>& permutation) {
  source.permutation = permutation.data();
  source.permutation_bytes = permutation.size() * sizeof permutation[0];
}

void Prepared::set_x_scale(const std::vector<float>& x_scale) {
  source.x_scale = x_scale.data();
  source.x_scale_bytes = x_scale.size() * sizeof x_scale[0];
}

ByteView Prepared::own(std::vector<std::uint8_t> bytes) {
  owned_.push_back(std::move(bytes));
  return {owned_.back().data(), owned_.back().size()};
}

Prepared PlainLayer::prepare(std::size_t expert) const {
  const auto of_expert = [&](ByteView all) { return all.sub(expert * (all.size() / experts), all.size() / experts); };
  Prepared prepared;
  prepared.set_codes(layout, of_expert(codes));
  prepared.set_scales(of_expert(scales));
  if (zeros.size() != 0) prepared.set_zeros(of_expert(zeros));
  if (by_group) prepared.by_group();
  return prepared;
}

ByteView LayerSource::packed(std::size_t) const { return {}; }

std::uint64_t LayerSource::packed_bytes() const {
  std::size_t size = 0;
  if (zenwoq_weight_packed_bytes(&desc, &size) != ZENWOQ_OK) fail("{}: {}", where, zenwoq_last_error());
  return size;
}

ByteView LayerSource::bias_of(std::size_t expert) const {
  const std::size_t each = bias.size() / experts;
  return bias.sub(expert * each, each);
}

Weight pack(zenwoq_context* context, const LayerSource& layer, const Prepared& prepared) {
  zenwoq_weight* weight = nullptr;
  const zenwoq_status status = zenwoq_weight_create(context, &layer.desc, &prepared.source, &weight);
  switch (status) {
    case ZENWOQ_OK: return Weight(weight);
    case ZENWOQ_ERROR_OUT_OF_MEMORY: throw std::bad_alloc();
    case ZENWOQ_ERROR_INVALID_ARGUMENT:
    case ZENWOQ_ERROR_OVERFLOW: fail("{}: {}", layer.where, zenwoq_last_error());
    default: throw std::logic_error(zenwoq_last_error());
  }
}

Weight load(zenwoq_context* context, const LayerSource& layer, std::size_t expert) {
  if (layer.packed(expert).size() != 0) return copy_packed(layer, expert);
  return pack(context, layer, layer.prepare(expert));
}

}  // namespace zenwoq::formats
