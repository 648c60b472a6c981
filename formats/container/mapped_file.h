// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A whole regular file, mapped read-only for as long as the object lives.
#pragma once

#include <string>

#include "formats/container/byte_view.h"

namespace zenwoq::formats {

class MappedFile {
 public:
  explicit MappedFile(const std::string& path);  // throws ReadError
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  ByteView bytes() const { return bytes_; }

 private:
  ByteView bytes_;
};

}  // namespace zenwoq::formats
