// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Everything that zenwoq check does with one layer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/layer.h"

namespace zenwoq::tools {

struct KernelUse {
  std::string name;  // "reference" if no kernel could be generated
  std::size_t code_bytes = 0;
  double generation_us = 0;
  std::string reason;  // why the reference runs
};

struct LayerCheck {
  std::string file;
  LayerInfo info;
  std::string error;  // why it could not be read or packed; if set, nothing below is known
  std::string quantization;
  std::size_t experts = 1;          // weights of the layer
  std::size_t experts_checked = 1;  // as many of them, from the first on
  // Of the first one: its size and times.
  std::size_t packed_bytes = 0;
  double pack_seconds = 0;
  bool unpacks_exactly = false;
  std::vector<KernelUse> kernels;  // used by runs of M = 1, 4 and 33 rows
  std::optional<bool> bits_equal;  // empty if the reference ran instead of generated kernels
  std::string difference;          // the first one: "M = 4: y[2,17] is ..., the reference says ..."
  double max_error_over_bound = 0;
  double run_seconds = 0;  // M = 1, median

  // Whether everything that was compared is equal and the error is within its bound.
  bool right() const {
    return error.empty() && unpacks_exactly && bits_equal.value_or(true) && max_error_over_bound <= 1;
  }
};

// The first `experts` weights of a layer (0: all). On `jit`, packs, unpacks, generates kernels, runs M = 1, 4 and 33
// with activations from a fixed seed, and takes times. Compares with `reference` (a context that is capped to
// ZENWOQ_TIER_REFERENCE) and with an f64 product. Throws ReadError if one has values that cannot be.
LayerCheck check_layer(const LayerSource& source, std::size_t experts, zenwoq_context* jit, zenwoq_context* reference);

}  // namespace zenwoq::tools
