// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Makes the library's weights and linears from layers of checkpoints.
#include "tools/packed_layer.h"

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
  std::vector<std::uint8_t> codes(layer.codes.size());
  std::vector<std::uint8_t> scales(layer.scales.size());
  std::vector<std::uint8_t> zeros(layer.zeros.size());
  require(zenwoq_weight_unpack(weight, codes.data(), codes.size(), scales.data(), scales.size(), zeros.data(),
                               zeros.size()));
  if (scales != layer.scales || zeros != layer.zeros) return false;
  if (layer.info.k % 2 == 0) return codes == layer.codes;
  // The high nibble of a row's last byte is not a code if K is odd.
  const std::size_t row_bytes = layer.info.k / 2 + 1;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const unsigned mask = i % row_bytes + 1 == row_bytes ? 0x0F : 0xFF;
    if (((codes[i] ^ layer.codes[i]) & mask) != 0) return false;
  }
  return true;
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
