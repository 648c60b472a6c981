// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Hands the layers of a checkpoint to the library: describes, packs and unpacks them, and makes linears of them.
#pragma once

#include <string>

#include "tools/api_handles.h"
#include "tools/layer.h"

namespace zenwoq::tools {

struct PackedLayer {
  formats::Weight weight;
  std::string quantization;  // "int4 sym per-group 128, scale bf16"
  std::size_t packed_bytes = 0;
  double pack_seconds = 0;
};

// Throws ReadError if the layer has values that cannot be.
PackedLayer pack_layer(const LayerSource& source, const formats::Prepared& prepared, zenwoq_context* context);

// Whether codes, scales, zeros and all else come back from the packed weight exactly as the layer has them.
bool unpacks_exactly(const Layer& layer, const zenwoq_weight* weight);

// The layer with its bias, f32 output.
LinearHandle make_linear(zenwoq_context* context, zenwoq_weight* weight, const Layer& layer);

}  // namespace zenwoq::tools
