// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Maps a file. Anything but a readable, non-empty regular file is a ReadError.
#include "formats/container/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

class Descriptor {
 public:
  // O_NONBLOCK: opening a named pipe must not wait for a writer. Symbolic links are followed (Hugging
  // Face's cache is made of them).
  explicit Descriptor(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string system_reason() { return std::generic_category().message(errno); }

std::size_t regular_file_size(const Descriptor& file, const std::string& where) {
  struct stat info {};
  if (fstat(file.get(), &info) != 0) fail("{}: {}", where, system_reason());
  if (S_ISDIR(info.st_mode)) fail("{}: is a directory, not a file", where);
  if (!S_ISREG(info.st_mode)) fail("{}: is not a regular file", where);
  if (info.st_size == 0) fail("{}: is empty", where);
  return static_cast<std::size_t>(info.st_size);
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  const std::string where = shown_path(path);
  const Descriptor file(path);
  if (file.get() < 0) fail("{}: cannot be opened: {}", where, system_reason());
  const std::size_t size = regular_file_size(file, where);
  void* address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) fail("{}: cannot be mapped: {}", where, system_reason());
  bytes_ = ByteView(static_cast<const std::uint8_t*>(address), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, ByteView())) {}

MappedFile::~MappedFile() {
  if (bytes_.data() != nullptr) munmap(const_cast<std::uint8_t*>(bytes_.data()), bytes_.size());
}

}  // namespace zenwoq::formats
