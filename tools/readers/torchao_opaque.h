// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// TorchAO's Int4OpaqueTensor: codes as ATen's CPU kernel packs them, scale and additive zero per group.
#pragma once

#include "tools/readers/found_layers.h"
#include "tools/readers/tensor_set.h"

namespace zenwoq::tools {

// Takes every weight with a P._weight_scale_and_zero out of the set: as a layer, or as left alone with the reason.
// Throws ReadError if the tensors contradict each other.
void find_opaque_layers(TensorSet& set, ReadOptions::OpaqueLayout layout, FoundLayers& found);

}  // namespace zenwoq::tools
