// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The files of one checkpoint, which lie in one folder.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "formats/container/byte_view.h"
#include "formats/container/mapped_file.h"

namespace zenwoq::formats {

// The file beside a checkpoint that describes the model.
constexpr const char* config_name = "config.json";

// Whether the name is one of a file in the same folder: it has no folder in it and is printable.
bool is_plain_file_name(const std::string& name);

// Throws ReadError unless the name, which stands in a file that `where` names, is one of a file beside that: it has no
// folder in it and is printable.
void check_file_name(const std::string& name, const std::string& where);

// Files by name. Their bytes stay for as long as the object does.
class Files {
 public:
  virtual ~Files() = default;

  // Throws ReadError if there is no such file, or if it cannot be read.
  virtual ByteView require(const std::string& name) = 0;

  // Empty if there is no such file. Throws ReadError if there is one that cannot be read.
  virtual std::optional<ByteView> find(const std::string& name) = 0;
};

// Maps files of a folder, each once.
class FolderFiles final : public Files {
 public:
  explicit FolderFiles(std::string folder) : folder_(std::move(folder)) {}

  ByteView require(const std::string& name) override;
  std::optional<ByteView> find(const std::string& name) override;

 private:
  std::string path_of(const std::string& name) const;

  std::string folder_;  // empty for the working one
  std::map<std::string, MappedFile> files_;
};

}  // namespace zenwoq::formats
