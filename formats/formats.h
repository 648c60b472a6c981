// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The formats of 4-bit weights that are read.
#pragma once

#include <span>

#include "formats/contents.h"
#include "formats/layer.h"

namespace zenwoq::formats {

// Takes every weight of one format out of the contents: as a layer, or as left alone with the reason. Throws ReadError
// if tensors of a weight contradict each other. Must be linear in the size of the contents, and may not take more
// memory than a small multiple of it, whatever they say.
using Find = void(Contents&, FoundLayers&);

struct Format {
  const char* name;
  Find* find;
};

// In the order in which they are asked.
std::span<const Format> formats();

// Each in the file of its name.
Find find_awq, find_bitsandbytes, find_compressed_tensors, find_gguf, find_gpt_oss, find_gptq, find_mlx, find_modelopt,
    find_onnx, find_torchao, find_torchao_opaque, find_zwq;

}  // namespace zenwoq::formats
