// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// An open checkpoint: its layers, and the tensors that are left alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "formats/contents.h"
#include "formats/layer.h"

namespace zenwoq::formats {

// Does not change once it is open: any number of threads may read it.
class Checkpoint {
 public:
  // `files` has the bytes that the layers point into.
  Checkpoint(FoundLayers found, std::unique_ptr<Files> files) : files_(std::move(files)), found_(std::move(found)) {}

  const std::vector<std::unique_ptr<LayerSource>>& layers() const { return found_.layers; }
  const std::vector<LeftAlone>& left_alone() const { return found_.left_alone; }

 private:
  std::unique_ptr<Files> files_;
  FoundLayers found_;
};

// Opens a .safetensors file, a .safetensors.index.json of shards, a GGUF file (one of several opens them all), told
// apart by content, or the folder of one of these. Checks every size and offset. Throws ReadError.
std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path, const ReadOptions& options = {});

// The same for the file `name` among `files`; `where` names it in messages.
std::unique_ptr<Checkpoint> open_checkpoint(std::unique_ptr<Files> files, const std::string& name,
                                            const std::string& where, const ReadOptions& options = {});

// A tensor in memory that stays the caller's.
struct GivenTensor {
  std::string name;
  std::string type;                  // of safetensors ("I32") or of GGUF ("q4_k")
  std::vector<std::uint64_t> shape;  // in values
  ByteView data;
};

// The same for tensors in memory, and for the texts (empty if there are none) that a file has beside them: config.json,
// and the object __metadata__.
std::unique_ptr<Checkpoint> open_tensors(const std::vector<GivenTensor>& tensors, std::string config,
                                         const std::string& metadata, const ReadOptions& options = {});

}  // namespace zenwoq::formats
