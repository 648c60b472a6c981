// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The container format GGUF, versions 2 and 3: header, key-value pairs, tensor table, aligned data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/container/byte_view.h"
#include "formats/container/stored_tensor.h"

namespace zenwoq::formats {

struct GgufTensor {
  std::string name;
  std::vector<std::uint64_t> dimensions;  // as the file has them, columns (K) first; none for a scalar
  std::uint32_t type = 0;
  std::uint64_t offset = 0;  // from the start of the data
  ByteView data;             // empty for a type of unknown size, or without values
};

struct GgufFile {
  std::vector<GgufTensor> tensors;
  // Of a model in several files: this one's number, from 0 on, how many there are, and the tensors in all of them (0 if
  // that is not said).
  std::uint64_t shard = 0;
  std::uint64_t shards = 1;
  std::uint64_t tensors_of_all = 0;
};

// Whether a dimension is 0.
bool is_empty(const GgufTensor& tensor);

// The tensor as it lies in the file.
StoredTensor stored(const GgufTensor& tensor);

bool looks_like_gguf(ByteView file);

// `where` names the file in messages. Throws ReadError unless every count, size and offset is right.
GgufFile parse_gguf(ByteView file, const std::string& where);

}  // namespace zenwoq::formats
