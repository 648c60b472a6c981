// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Opens a checkpoint whose bytes are in memory already: what open_checkpoint (layer.h) does once the file
// is mapped.
#pragma once

#include <memory>
#include <string>

#include "tools/readers/byte_view.h"
#include "tools/readers/layer.h"
#include "tools/readers/sharded.h"

namespace zenwoq::tools {

// `name` is a path or file name. If it ends in ".index.json", the bytes are an index, and only then is shard_bytes
// called. All bytes must outlive the checkpoint. Throws ReadError.
std::unique_ptr<Checkpoint> open_checkpoint_bytes(ByteView bytes, const std::string& name, const ReadOptions& options,
                                                  const ShardSource& shard_bytes);

}  // namespace zenwoq::tools
