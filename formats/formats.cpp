// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The table of formats. To add one: its file, which says what its tensors are called and what their bytes mean, a line
// here and in formats.h, its file in meson.build, and a test.
#include "formats/formats.h"

namespace zenwoq::formats {
namespace {

constexpr Format kFormats[] = {
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

}  // namespace

std::span<const Format> formats() { return kFormats; }

}  // namespace zenwoq::formats
