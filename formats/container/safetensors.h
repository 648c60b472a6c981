// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The header of a safetensors file: u64 length, JSON of that length, then the tensors' data without gaps.
#pragma once

#include <string>

#include "formats/container/byte_view.h"
#include "formats/container/tensor_set.h"

namespace zenwoq::formats {

// Whether the bytes begin as the format demands, with '{' after the length.
bool looks_like_safetensors(ByteView file);

// `where` names the file in messages. Throws ReadError unless every size and offset in the header is right.
TensorSet parse_safetensors(ByteView file, const std::string& where);

}  // namespace zenwoq::formats
