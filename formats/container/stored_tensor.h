// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// One tensor as it lies in a file, and its values where they are plain numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/container/byte_view.h"
#include "formats/container/ggml_blocks.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq::formats {

constexpr std::size_t max_rank = 8;  // of a tensor whose values are read

struct StoredTensor {
  std::string type;                  // as the file spells it: "BF16", "q6_k"
  std::vector<std::uint64_t> shape;  // rows first
  ByteView data;                     // of the size that type and shape call for, if the type is known
  // The type in which its values are exact and take the least; empty if they are not read.
  std::optional<zenwoq_dtype> values_type;
  UnpackBlock* unpack = nullptr;  // of blocks; their values are f32
  std::size_t block_bytes = 0;
  std::size_t block_values = 0;

  std::uint64_t values() const;  // for one whose values are read
};

// The values of a tensor of floats are read, if it has no more dimensions than there may be.
StoredTensor stored_floats(std::string type, std::vector<std::uint64_t> shape, ByteView data,
                           std::optional<zenwoq_dtype> float_type);

// Floats of one type -> the same type or f32. `out` is of any alignment.
void copy_floats(zenwoq_dtype from, const std::uint8_t* floats, std::size_t count, zenwoq_dtype to, std::uint8_t* out);

// All values of a tensor, row-major, as its values_type or f32.
void copy_values(const StoredTensor& tensor, zenwoq_dtype type, std::uint8_t* out);

}  // namespace zenwoq::formats
