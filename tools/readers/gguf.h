// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The 4-bit linears of a GGUF file: its two-dimensional Q4_0 and Q4_1 tensors.
#pragma once

#include <string>

#include "tools/readers/byte_view.h"
#include "tools/readers/found_layers.h"
#include "tools/readers/sharded.h"

namespace zenwoq::tools {

// `where` names the file in messages. If it is one of several, shard_bytes gives the others, which are called like it;
// their bytes must outlive the layers too. Throws ReadError.
FoundLayers find_gguf_layers(ByteView file, const std::string& where, const std::string& file_name,
                             const ShardSource& shard_bytes);

}  // namespace zenwoq::tools
