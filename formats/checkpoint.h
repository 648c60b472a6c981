// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// An open checkpoint: its layers, and the tensors that are left alone.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/contents.h"
#include "formats/layer.h"

namespace zenwoq::formats {

// config.json, or why it cannot be read, which matters only to who needs it.
struct Config {
  std::optional<ByteView> bytes;
  std::string error;
};

// Does not change once it is open: any number of threads may read it.
class Checkpoint {
 public:
  // `files` has the bytes that the layers point into. zwq: all of a .zwq file, or no bytes.
  Checkpoint(FoundLayers found, std::shared_ptr<const Files> files, std::string where, ByteView zwq, Config config)
      : files_(std::move(files)),
        found_(std::move(found)),
        where_(std::move(where)),
        zwq_(zwq),
        config_(std::move(config)) {}

  const std::vector<std::unique_ptr<LayerSource>>& layers() const { return found_.layers; }
  const std::vector<LeftAlone>& left_alone() const { return found_.left_alone; }

  // Whoever has them keeps the bytes that layers point into.
  std::shared_ptr<const Files> files() const { return files_; }

  // config.json of the model; empty if there is none. Throws ReadError if it cannot be read.
  std::optional<ByteView> config() const;

  // Whether its file has checksums; then verify() reads all of it and throws ReadError for the first damage.
  bool has_checksums() const { return zwq_.size() != 0; }
  void verify() const;

 private:
  std::shared_ptr<const Files> files_;
  FoundLayers found_;
  std::string where_;
  ByteView zwq_;
  Config config_;
};

// Opens a .safetensors file, a .safetensors.index.json of shards, a GGUF file (one of several opens them all), a .zwq
// file, told apart by content, an .onnx file, or the folder of one of these. Checks every size and offset. Throws
// ReadError.
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
