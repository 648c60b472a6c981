// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Several files as one input of a fuzz target: magic, then of each file u8 length of its name, name, u32 length, bytes.
// What does not begin so is one file.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace zenwoq::fuzz {

using FileBytes = std::vector<std::uint8_t>;
using Archive = std::vector<std::pair<std::string, FileBytes>>;  // the first file is the one that is opened

inline constexpr std::string_view archive_magic = "ZQFILES\n";

// A last file that is cut off ends where the input does.
inline Archive read_archive(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (!text.starts_with(archive_magic)) return {{"model", FileBytes(data, data + size)}};
  Archive archive;
  for (std::size_t at = archive_magic.size(); at < size && archive.size() < 16;) {
    const std::size_t name_bytes = data[at++];
    const std::string name(text.substr(at, name_bytes));
    at += name.size();
    std::uint32_t bytes = 0;
    if (size - at < sizeof bytes) break;
    std::memcpy(&bytes, data + at, sizeof bytes);
    at += sizeof bytes;
    const std::string_view content = text.substr(at, bytes);
    archive.emplace_back(name, FileBytes(content.begin(), content.end()));
    at += content.size();
  }
  return archive;
}

inline FileBytes write_archive(const Archive& archive) {
  FileBytes bytes(archive_magic.begin(), archive_magic.end());
  for (const auto& [name, content] : archive) {
    bytes.push_back(static_cast<std::uint8_t>(name.size()));
    bytes.insert(bytes.end(), name.begin(), name.end());
    const auto length = static_cast<std::uint32_t>(content.size());
    const auto* length_bytes = reinterpret_cast<const std::uint8_t*>(&length);
    bytes.insert(bytes.end(), length_bytes, length_bytes + sizeof length);
    bytes.insert(bytes.end(), content.begin(), content.end());
  }
  return bytes;
}

}  // namespace zenwoq::fuzz
