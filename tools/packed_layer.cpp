// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Makes the library's weights and linears from layers of checkpoints.
#include "tools/packed_layer.h"

#include <algorithm>

#include "tools/stopwatch.h"

namespace zenwoq::tools {

PackedLayer pack_layer(const LayerSource& source, const formats::Prepared& prepared, zenwoq_context* context) {
  PackedLayer packed;
  const Stopwatch watch;
  packed.weight = formats::pack(context, source, prepared);
  packed.pack_seconds = watch.seconds();
  packed.quantization = zenwoq_weight_text(packed.weight.get());
  const void* bytes = nullptr;
  require(zenwoq_weight_packed(packed.weight.get(), &bytes, &packed.packed_bytes));
  return packed;
}

bool unpacks_exactly(const Layer& layer, const zenwoq_weight* weight) {
  Layer back = layer;  // of the same sizes
  for (std::vector<std::uint8_t>* bytes :
       {&back.codes, &back.scales, &back.zeros, &back.super_scales, &back.super_offsets}) {
    std::fill(bytes->begin(), bytes->end(), std::uint8_t{0});
  }
  require(zenwoq_weight_unpack(weight, back.codes.data(), back.codes.size(), back.scales.data(), back.scales.size(),
                               back.zeros.data(), back.zeros.size()));
  zenwoq_weight_extras extras;
  zenwoq_weight_extras_init(&extras);
  const auto want = [](auto& values, auto*& data, std::size_t& bytes) {
    if (values.empty()) return;
    std::fill(values.begin(), values.end(), 0);
    data = values.data();
    bytes = values.size() * sizeof values[0];
  };
  auto* super_scales = static_cast<std::uint8_t*>(nullptr);
  auto* super_offsets = static_cast<std::uint8_t*>(nullptr);
  want(back.super_scales, super_scales, extras.super_scales_bytes);
  want(back.super_offsets, super_offsets, extras.super_offsets_bytes);
  extras.super_scales = super_scales, extras.super_offsets = super_offsets;
  want(back.permutation, extras.permutation, extras.permutation_bytes);
  want(back.x_scale, extras.x_scale, extras.x_scale_bytes);
  require(zenwoq_weight_unpack_extras(weight, &extras));
  const std::size_t row_bytes = (layer.info.k + 1) / 2;
  // The high nibble of a row's last byte is not a code if K is odd.
  for (std::size_t n = 0; layer.info.k % 2 != 0 && n < layer.info.n; ++n) back.codes[(n + 1) * row_bytes - 1] &= 0x0F;
  return back.codes == layer.codes && back.scales == layer.scales && back.zeros == layer.zeros &&
         back.super_scales == layer.super_scales && back.super_offsets == layer.super_offsets &&
         back.permutation == layer.permutation && back.x_scale == layer.x_scale;
}

LinearHandle make_linear(zenwoq_context* context, zenwoq_weight* weight, const Layer& layer) {
  zenwoq_linear_desc desc;
  zenwoq_linear_desc_init(&desc);
  if (layer.info.has_bias) {
    desc.bias_type = layer.info.bias_type;
    desc.bias = layer.bias.data();
    desc.bias_bytes = layer.bias.size();
  }
  return make_linear(context, weight, &desc);
}

}  // namespace zenwoq::tools
