// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What a reader finds in a file: layers that can be loaded, and tensors that it leaves alone, with the reason.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tools/readers/byte_view.h"
#include "tools/readers/layer.h"

namespace zenwoq::tools {

// A layer whose sizes are checked; load() copies its values out of the mapped file.
struct LayerSource {
  LayerSource() = default;
  LayerSource(const LayerSource&) = delete;
  LayerSource& operator=(const LayerSource&) = delete;
  virtual ~LayerSource() = default;
  virtual Layer load() const = 0;

  std::string where;  // file and layer, as messages name them
  LayerInfo info;
  ByteView bias;  // [N] of info.bias_type if the layer has a bias
};

struct FoundLayers {
  std::vector<std::unique_ptr<LayerSource>> layers;
  std::vector<LeftAlone> left_alone;
};

// The layer's info and bias, with room for its codes: what the load() of every format starts from.
inline Layer start_layer(const LayerSource& source) {
  Layer layer;
  layer.info = source.info;
  layer.codes.resize(source.info.n * ((source.info.k + 1) / 2));
  layer.bias.assign(source.bias.begin(), source.bias.end());
  return layer;
}

}  // namespace zenwoq::tools
