// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The two formats of the Linux kernel's tools/perf/Documentation: jit-interface.txt and jitdump-specification.txt.
#include "src/system/profile.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string_view>
#include <system_error>

#include "src/system/fork_mutex.h"

namespace zenwoq {
namespace {

constexpr int kNewFile = O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_APPEND;
constexpr mode_t kOwnersOnly = 0600;

Status cannot_write(const std::string& path, std::string_view why) {
  return {ZENWOQ_ERROR_UNSUPPORTED, fmt::format("cannot write {}: {}", path, why)};
}

std::string errno_text() { return std::generic_category().message(errno); }

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(file, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

// Everybody may write to /tmp. A file that is there already is used only if this user made it for itself: another
// generator in this process may have.
int open_map(const std::string& path) {
  const int made = open(path.c_str(), O_WRONLY | kNewFile, kOwnersOnly);
  if (made >= 0 || errno != EEXIST) return made;
  const int file = open(path.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_APPEND | O_NONBLOCK);
  struct stat found;
  if (file < 0 || (fstat(file, &found) == 0 && S_ISREG(found.st_mode) && found.st_uid == geteuid() &&
                   found.st_nlink == 1 && (found.st_mode & (S_IWGRP | S_IWOTH)) == 0)) {
    return file;
  }
  close(file);
  errno = EEXIST;
  return -1;
}

Status add_to_map(const std::string& name, std::span<const std::uint8_t> code) {
  const std::string path = fmt::format("/tmp/perf-{}.map", getpid());
  const int file = open_map(path);
  if (file < 0) return cannot_write(path, errno_text());
  const bool written =
      write_all(file, fmt::format("{:x} {:x} {}\n", reinterpret_cast<std::uintptr_t>(code.data()), code.size(), name));
  const Status status = written ? Status() : cannot_write(path, errno_text());
  close(file);
  return status;
}

struct JitdumpHeader {
  std::uint32_t magic = 0x4A695444, version = 1, bytes = sizeof(JitdumpHeader), machine = EM_X86_64, padding = 0;
  std::uint32_t process;
  std::uint64_t time, flags = 0;
};

struct JitdumpLoad {
  std::uint32_t id = 0, bytes;
  std::uint64_t time;
  std::uint32_t process, thread;
  std::uint64_t address, code_address, code_bytes, index;  // then the name with its zero, and the code
};

template <typename Struct>
std::string_view bytes_of(const Struct& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::uint64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);  // perf record -k mono
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

// The file of this process, open as long as it lives.
class Jitdump {
 public:
  Status add(const std::string& folder, const std::string& name, std::span<const std::uint8_t> code) {
    const std::lock_guard lock(mutex_);
    const std::string path = fmt::format("{}/jit-{}.dump", folder, getpid());
    if (path != path_) {
      if (Status status = open_new(path); !status.ok()) return status;
    }
    JitdumpLoad load{.bytes = static_cast<std::uint32_t>(sizeof load + name.size() + 1 + code.size()),
                     .time = now(),
                     .process = static_cast<std::uint32_t>(getpid()),
                     .thread = static_cast<std::uint32_t>(syscall(SYS_gettid)),
                     .address = reinterpret_cast<std::uintptr_t>(code.data()),
                     .code_address = reinterpret_cast<std::uintptr_t>(code.data()),
                     .code_bytes = code.size(),
                     .index = index_++};
    std::string record(bytes_of(load));
    record.append(name.c_str(), name.size() + 1);
    record.append(reinterpret_cast<const char*>(code.data()), code.size());
    return write_all(file_, record) ? Status() : cannot_write(path, errno_text());
  }

 private:
  Status open_new(const std::string& path) {
    if (file_ >= 0) close(file_);  // in a child: its parent's
    path_.clear();
    file_ = open(path.c_str(), O_RDWR | kNewFile, kOwnersOnly);
    if (file_ < 0) return cannot_write(path, errno_text());
    const JitdumpHeader header{.process = static_cast<std::uint32_t>(getpid()), .time = now()};
    // perf learns of the file by an executable mapping of it.
    if (!write_all(file_, bytes_of(header)) ||
        mmap(nullptr, sizeof header, PROT_READ | PROT_EXEC, MAP_PRIVATE, file_, 0) == MAP_FAILED) {
      return cannot_write(path, errno_text());
    }
    path_ = path;
    return {};
  }

  ForkMutex mutex_;
  std::string path_;
  int file_ = -1;
  std::uint64_t index_ = 0;
};

constinit std::atomic<Jitdump*> the_jitdump{nullptr};

}  // namespace

Status Profile::read(Profile* profile) {
  *profile = {};
  const char* wanted = secure_getenv("ZENWOQ_PERF");
  if (wanted == nullptr || *wanted == '\0') return {};
  constexpr std::string_view kJitdump = "jitdump:";
  const std::string_view text = wanted;
  profile->map = text == "map";
  if (text.substr(0, kJitdump.size()) == kJitdump) profile->jitdump_folder = text.substr(kJitdump.size());
  if (profile->map || !profile->jitdump_folder.empty()) return {};
  return invalid("environment variable ZENWOQ_PERF is \"{}\": must be map or jitdump:FOLDER", wanted);
}

Status Profile::add(const std::string& name, std::span<const std::uint8_t> code) const {
  if (map) return add_to_map(name, code);
  return jitdump_folder.empty() ? Status() : made_once(the_jitdump).add(jitdump_folder, name, code);
}

}  // namespace zenwoq
