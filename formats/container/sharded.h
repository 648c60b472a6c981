// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A checkpoint in several files: how they are called, and those that model.safetensors.index.json describes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "formats/container/byte_view.h"
#include "formats/container/files.h"
#include "formats/container/tensor_set.h"

namespace zenwoq::formats {

// NAME-00002-of-00003.gguf as "NAME", 2 and 3.
struct ShardName {
  std::string stem;
  std::uint64_t number = 1;  // from 1 on
  std::uint64_t count = 1;
  std::size_t digits = 5;

  std::string file_of(std::uint64_t shard, std::string_view extension) const;
};

// Empty for a file of another name, and for the only shard of one.
std::optional<ShardName> parse_shard_name(std::string_view file_name, std::string_view extension);

// Whether the index places tensors in this file and others in another. Throws ReadError.
bool is_one_of_several(ByteView index, const std::string& where, const std::string& file_name);

// The tensors of all shards as one set, so that a layer may lie in several of them. Throws ReadError.
TensorSet read_shards(ByteView index, const std::string& where, Files& files);

}  // namespace zenwoq::formats
