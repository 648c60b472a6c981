// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The container format GGUF, versions 2 and 3: header, key-value pairs, tensor table, aligned data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/readers/byte_view.h"

namespace zenwoq::tools {

struct GgufTensor {
  std::string name;
  std::vector<std::uint64_t> dimensions;  // as the file has them, columns (K) first
  std::uint32_t type = 0;
  std::uint64_t offset = 0;  // from the start of the data
  ByteView data;             // empty for a type of unknown size
};

bool looks_like_gguf(ByteView file);

// `where` names the file in messages. Throws ReadError unless every count, size and offset is right.
std::vector<GgufTensor> parse_gguf(ByteView file, const std::string& where);

}  // namespace zenwoq::tools
