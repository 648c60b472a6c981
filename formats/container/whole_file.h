// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A file that appears whole or not at all.
#pragma once

#include <cstdint>
#include <string>

#include "formats/container/byte_view.h"

namespace zenwoq::formats {

// Is written beside its place under a name of its own and renamed once it is on the disk, so any number of threads and
// processes may write one path: one of them wins. What a symbolic link points to is replaced, not the link. The mode of
// an old file is kept, its owner and group each if this process may set it; ACLs and other attributes are not. All of
// it throws ReadError, with the system's reason; nothing has changed unless commit() returns.
class WholeFile {
 public:
  // Refuses what is no regular file: a device or a pipe cannot be written out of order, and a file must not take its
  // place. Takes the room on the disk where the file system can.
  WholeFile(const std::string& path, std::uint64_t bytes);
  // What is never written is zero.
  void write(std::uint64_t offset, ByteView bytes);
  void commit();

 private:
  // The file under its own name; gone with the object, unless it has its place.
  struct Part {
    Part() = default;
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;
    ~Part();

    std::string path;
    int fd = -1;
  };

  void reserve(std::uint64_t bytes);
  [[noreturn]] void fail_of_system() const;

  std::string where_;
  std::string target_;
  Part part_;
};

}  // namespace zenwoq::formats
