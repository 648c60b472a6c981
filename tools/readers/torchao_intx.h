// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// TorchAO's IntxUnpackedToInt8Tensor with int4 values: one signed value per byte, scales and zero points per group.
#pragma once

#include "tools/readers/found_layers.h"
#include "tools/readers/tensor_set.h"

namespace zenwoq::tools {

// Takes every TorchAO weight out of the set: as a layer, or as left alone with the reason (missing metadata is one).
// Throws ReadError if tensors and metadata contradict each other.
void find_intx_layers(TensorSet& set, FoundLayers& found);

}  // namespace zenwoq::tools
