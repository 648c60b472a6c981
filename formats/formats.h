// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The formats of 4-bit weights that are read.
#pragma once

#include "formats/contents.h"
#include "formats/layer.h"

namespace zenwoq::formats {

// Takes every weight of one format out of the contents: as a layer, or as left alone with the reason. Throws ReadError
// if tensors of a weight contradict each other. Must be linear in the size of the contents, and may not take more
// memory than a small multiple of it, whatever they say.
using Find = void(Contents&, FoundLayers&);

// Each in the file of its name.
Find find_awq, find_bitsandbytes, find_compressed_tensors, find_gguf, find_gpt_oss, find_gptq, find_mlx, find_modelopt,
    find_onnx, find_torchao, find_torchao_opaque, find_zwq;

// The table of formats, in the order in which they are asked. To add one: its file, which says what its tensors are
// called and what their bytes mean, its name here, its file in meson.build, and its cases in tests/fixtures/formats.
struct Format {
  const char* name;
  Find* find;
};
inline constexpr Format kFormats[] = {
    {"zwq", find_zwq},
    {"gguf", find_gguf},
    {"onnx", find_onnx},
    {"bitsandbytes", find_bitsandbytes},
    {"compressed-tensors", find_compressed_tensors},
    {"modelopt", find_modelopt},
    {"gpt-oss", find_gpt_oss},
    {"mlx", find_mlx},
    {"awq", find_awq},
    {"gptq", find_gptq},  // after AWQ, whose tensors have the same names
    {"torchao opaque", find_torchao_opaque},
    {"torchao", find_torchao},  // after opaque, whose tensors have the same prefix
};

}  // namespace zenwoq::formats
