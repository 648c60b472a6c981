// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Blocks of ggml types that no kernel reads, as f32 values.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zenwoq::formats {

// One block of any alignment -> as many values as the type's blocks have.
using UnpackBlock = void(const std::uint8_t* block, float* values);

// Of the type with this number in GGUF files; nullptr if its blocks are not unpacked.
UnpackBlock* find_unpack(std::uint32_t ggml_type);

constexpr std::size_t largest_block = 256;  // values

}  // namespace zenwoq::formats
