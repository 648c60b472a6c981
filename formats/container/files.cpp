// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Checks names of files, and maps files of a folder.
#include "formats/container/files.h"

#include <filesystem>
#include <system_error>

#include "formats/container/text.h"

namespace zenwoq::formats {

namespace fs = std::filesystem;

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && shown(name, name.size()) == name &&
         name.find_first_of("/\\") == std::string::npos;
}

void check_file_name(const std::string& name, const std::string& where) {
  if (!is_plain_file_name(name)) fail("{}: shard {} is not a plain file name beside the index", where, shown(name));
}

std::string FolderFiles::path_of(const std::string& name) const { return (fs::path(folder_) / name).string(); }

ByteView FolderFiles::require(const std::string& name) {
  return files_.try_emplace(name, path_of(name)).first->second.bytes();
}

std::optional<ByteView> FolderFiles::find(const std::string& name) {
  std::error_code error;
  if (fs::status(path_of(name), error).type() == fs::file_type::not_found) return std::nullopt;
  return require(name);
}

}  // namespace zenwoq::formats
