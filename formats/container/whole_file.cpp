// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Writes beside the target and renames; the rules are those of zenwoq.torch.save.
#include "formats/container/whole_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

namespace fs = std::filesystem;

constexpr int max_links = 40;  // as many as Linux follows

[[noreturn]] void refuse(const std::string& where, int code) {
  fail("{}: cannot be written: {}", where, std::generic_category().message(code));
}

// Where links lead to, which need not be there.
fs::path followed(fs::path path, const std::string& where) {
  std::error_code error;
  for (int links = 0; fs::is_symlink(path, error); ++links) {
    if (links == max_links) refuse(where, ELOOP);
    path = path.parent_path() / fs::read_symlink(path, error);
    if (error) refuse(where, error.value());
  }
  return path;
}

// Whether the path without its links is a place: what a link in /proc/self/fd leads to may be none. Another writer may
// put a new file there between the two looks of one comparison, so it takes more than one that differs.
bool names(const fs::path& target, const std::string& path) {
  std::error_code error;
  for (int looks = 0; looks < 16; ++looks) {
    if (target == path || fs::equivalent(path, target, error)) return true;
  }
  return false;
}

// What is at the path now; empty if there is nothing. Throws ReadError if a file may not take its place.
std::optional<struct stat> replaceable(const std::string& path, const fs::path& target, const std::string& where) {
  struct stat old {};
  if (stat(path.c_str(), &old) != 0) {
    if (errno != ENOENT) refuse(where, errno);
    return std::nullopt;
  }
  if (S_ISDIR(old.st_mode)) refuse(where, EISDIR);
  if (!S_ISREG(old.st_mode)) fail("{}: is not a regular file, which it must be to be written out of order", where);
  if (access(path.c_str(), W_OK) != 0) refuse(where, errno);
  if (!names(target, path)) fail("{}: names an open file, not a place in a folder", where);
  return old;
}

fs::path folder_of(const fs::path& file) { return file.has_parent_path() ? file.parent_path() : fs::path("."); }

std::string random_name() {
  std::uint64_t bits = 0;
  if (getrandom(&bits, sizeof bits, 0) != sizeof bits) bits = static_cast<std::uint64_t>(getpid());
  return formatted(".zenwoq-{:016x}.part", bits);
}

void keep_attributes(int fd, const struct stat& old) {
  // Each if this process may.
  if (fchown(fd, static_cast<uid_t>(-1), old.st_gid) != 0) errno = 0;
  if (fchown(fd, old.st_uid, static_cast<gid_t>(-1)) != 0) errno = 0;
  if (fchmod(fd, old.st_mode & 07777) != 0) errno = 0;
}

// Lets the new name survive a power failure, where the file system can.
void sync_folder(const fs::path& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

}  // namespace

WholeFile::Part::~Part() {
  if (fd >= 0) close(fd);
  if (!path.empty()) unlink(path.c_str());
}

WholeFile::WholeFile(const std::string& path, std::uint64_t bytes) : where_(shown_path(path)) {
  const fs::path target = followed(path, where_);
  const std::optional<struct stat> old = replaceable(path, target, where_);
  target_ = target.string();
  std::string part = (folder_of(target) / random_name()).string();
  part_.fd = open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, old ? 0600 : 0666);
  if (part_.fd < 0) fail_of_system();
  part_.path = std::move(part);
  if (old) keep_attributes(part_.fd, *old);
  reserve(bytes);
}

void WholeFile::reserve(std::uint64_t bytes) {
  const auto size = static_cast<off_t>(bytes);
  // Of the reasons against it, only those that stay: not every file system can.
  const bool reserved = size == 0 || fallocate(part_.fd, 0, 0, size) == 0;
  if (!reserved && (errno == ENOSPC || errno == EFBIG || errno == EDQUOT)) fail_of_system();
  if (ftruncate(part_.fd, size) != 0) fail_of_system();
}

void WholeFile::fail_of_system() const { refuse(where_, errno); }

void WholeFile::write(std::uint64_t offset, ByteView bytes) {
  while (bytes.size() != 0) {
    const ssize_t written = pwrite(part_.fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail_of_system();
    const auto count = static_cast<std::size_t>(written);
    offset += count;
    bytes = bytes.sub(count, bytes.size() - count);
  }
}

void WholeFile::commit() {
  if (fsync(part_.fd) != 0) fail_of_system();
  if (close(std::exchange(part_.fd, -1)) != 0) fail_of_system();
  if (std::rename(part_.path.c_str(), target_.c_str()) != 0) fail_of_system();
  part_.path.clear();
  sync_folder(folder_of(target_));
}

}  // namespace zenwoq::formats
