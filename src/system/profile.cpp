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
#include <map>
#include <mutex>
#include <string_view>
#include <system_error>

#include "src/system/fork_mutex.h"

namespace zenwoq {
namespace {

constexpr mode_t kOwnersOnly = 0600;

Status cannot_write(const std::string& path, std::string_view why) {
  return {ZENWOQ_ERROR_UNSUPPORTED, formatted("cannot write {}: {}", path, why)};
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
// generator in this process may have, or an earlier process of the same number.
int open_own(const std::string& path) {
  constexpr int kFlags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_APPEND | O_NONBLOCK;
  const int made = open(path.c_str(), kFlags | O_CREAT | O_EXCL, kOwnersOnly);
  if (made >= 0 || errno != EEXIST) return made;
  const int file = open(path.c_str(), kFlags);
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
  const std::string path = formatted("/tmp/perf-{}.map", getpid());
  const int file = open_own(path);
  if (file < 0) return cannot_write(path, errno_text());
  const bool written =
      write_all(file, formatted("{:x} {:x} {}\n", reinterpret_cast<std::uintptr_t>(code.data()), code.size(), name));
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

// The files of this process, one for each folder that contexts ask for, open as long as it lives.
class Jitdump {
 public:
  Status add(const std::string& folder, const std::string& name, std::span<const std::uint8_t> code) {
    const std::lock_guard lock(mutex_);
    leave_those_of_the_parent();
    const std::string path = formatted("{}/jit-{}.dump", folder, getpid());
    const auto [found, is_new] = dumps_.try_emplace(path);
    Dump& dump = found->second;
    if (is_new && !begin(path, &dump)) return give_up(path, &dump);
    if (dump.file < 0) return {};  // given up
    JitdumpLoad load{.bytes = static_cast<std::uint32_t>(sizeof load + name.size() + 1 + code.size()),
                     .time = now(),
                     .process = static_cast<std::uint32_t>(getpid()),
                     .thread = static_cast<std::uint32_t>(syscall(SYS_gettid)),
                     .address = reinterpret_cast<std::uintptr_t>(code.data()),
                     .code_address = reinterpret_cast<std::uintptr_t>(code.data()),
                     .code_bytes = code.size(),
                     .index = dump.index++};
    std::string record(bytes_of(load));
    record.append(name.c_str(), name.size() + 1);
    record.append(reinterpret_cast<const char*>(code.data()), code.size());
    if (!write_all(dump.file, record)) return give_up(path, &dump);
    dump.bytes += static_cast<off_t>(record.size());
    return {};
  }

 private:
  struct Dump {
    int file = -1;    // none once it is given up
    off_t bytes = 0;  // whole records and what is before them
    std::uint64_t index = 0;
  };

  static bool begin(const std::string& path, Dump* dump) {
    dump->file = open_own(path);
    const JitdumpHeader header{.process = static_cast<std::uint32_t>(getpid()), .time = now()};
    // perf learns of the file by an executable mapping of it.
    if (dump->file < 0 || ftruncate(dump->file, 0) != 0 || !write_all(dump->file, bytes_of(header)) ||
        mmap(nullptr, sizeof header, PROT_READ | PROT_EXEC, MAP_PRIVATE, dump->file, 0) == MAP_FAILED) {
      return false;
    }
    dump->bytes = sizeof header;
    return true;
  }

  // After a call that failed: what is whole stays.
  static Status give_up(const std::string& path, Dump* dump) {
    const Status status = cannot_write(path, errno_text());
    if (dump->file < 0) return status;
    if (dump->bytes == 0 || ftruncate(dump->file, dump->bytes) != 0) unlink(path.c_str());
    close(dump->file);
    dump->file = -1;
    return status;
  }

  void leave_those_of_the_parent() {
    if (process_ == fork_count()) return;
    for (const auto& [path, dump] : dumps_) {
      if (dump.file >= 0) close(dump.file);
    }
    dumps_.clear();
    process_ = fork_count();
  }

  ForkMutex mutex_;
  std::map<std::string, Dump> dumps_;  // by path
  std::uint32_t process_ = fork_count();
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
  profile->unwind = true;
  if (text.substr(0, kJitdump.size()) == kJitdump) profile->jitdump_folder = text.substr(kJitdump.size());
  if (text == "unwind" || profile->map || !profile->jitdump_folder.empty()) return {};
  return invalid("environment variable ZENWOQ_PERF is \"{}\": must be unwind, map or jitdump:FOLDER", wanted);
}

Status Profile::add(const std::string& name, std::span<const std::uint8_t> code) const {
  if (map) return add_to_map(name, code);
  return jitdump_folder.empty() ? Status() : made_once(the_jitdump).add(jitdump_folder, name, code);
}

}  // namespace zenwoq
