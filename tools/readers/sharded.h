// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A checkpoint in several safetensors files, described by model.safetensors.index.json.
#pragma once

#include <functional>
#include <string>

#include "tools/readers/byte_view.h"
#include "tools/readers/tensor_set.h"

namespace zenwoq::tools {

// The bytes of the shard with this name, which has no folder in it; throws ReadError if there is none.
using ShardSource = std::function<ByteView(const std::string& file_name)>;

// The tensors of all shards as one set, so that a layer may lie in several of them. Throws ReadError.
TensorSet read_shards(ByteView index, const std::string& where, const ShardSource& shard_bytes);

}  // namespace zenwoq::tools
