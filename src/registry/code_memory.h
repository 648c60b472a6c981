// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Memory for generated code that is never writable and executable at once. Code is added, never changed or removed.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "jit/status.h"
#include "src/system/fork_mutex.h"

namespace zenwoq {

// What code memory asks of the system; a test passes calls that fail. Results and errno as in the manual pages.
struct SystemCalls {
  int (*memfd_create)(const char* name, unsigned flags);
  ssize_t (*pwrite)(int fd, const void* data, size_t bytes, off_t offset);
  void* (*mmap)(void* address, size_t bytes, int protection, int flags, int fd, off_t offset);
  int (*mprotect)(void* address, size_t bytes, int protection);
  int (*munmap)(void* address, size_t bytes);
  int (*close)(int fd);

  static const SystemCalls& real();
};

// What debuggers and profilers like.
struct CodeMemoryWishes {
  bool anonymous_first = false;  // perf looks for the names of code only in memory that is of no file
  bool unwind_tables = false;    // also where these make throws take a lock that a forked child may find taken
};

class CodeMemory {
 public:
  // Chooses the mode by placing a tiny function and calling it. calls must outlive the object.
  explicit CodeMemory(size_t bytes_max, const SystemCalls& calls = SystemCalls::real(),
                      const CodeMemoryWishes& wishes = {});
  ~CodeMemory();  // unmaps all code
  CodeMemory(const CodeMemory&) = delete;
  CodeMemory& operator=(const CodeMemory&) = delete;

  // "memfd", "mprotect", or "none: " and the system's reasons.
  const std::string& mode() const { return mode_text_; }
  bool executable() const { return mode_ != Mode::none; }

  // Copies code into executable pages of its own; *address is valid until the object dies. Any thread may call it.
  // Where unwinding takes no lock, or by the wish, debuggers, profilers and backtrace() see through kernels, except
  // those that a forked child adds. Errors: UNSUPPORTED (nothing is executable here), INVALID_ARGUMENT (no code),
  // UNSUPPORTED (the budget is used up), OUT_OF_MEMORY (the system refuses); *address is then untouched.
  Status add(std::span<const uint8_t> code, const void** address);

  size_t bytes_used() const { return bytes_used_; }  // whole pages

 private:
  enum class Mode { none, memfd, mprotect };
  struct Block {
    void* address;
    size_t bytes;
    Block* next;
    std::vector<uint8_t> unwind_table;  // registered with the compiler's runtime; empty: none is
  };
  // An executable copy of the code, or null and the call that failed with errno.
  struct Placed {
    void* address;
    const char* failed;
  };

  std::string probe(Mode mode);
  void register_unwind_table(std::span<const uint8_t> code, Block* block) noexcept;
  bool reserve(size_t bytes);
  Placed place(Mode mode, std::span<const uint8_t> code, size_t bytes);
  Placed place_by_memfd(std::span<const uint8_t> code, size_t bytes);
  Placed place_by_mprotect(std::span<const uint8_t> code, size_t bytes);
  const char* write_file(int fd, std::span<const uint8_t> code, size_t bytes);

  const SystemCalls& calls_;
  const size_t bytes_max_;
  const bool registers_;  // tables for unwinding
  Mode mode_ = Mode::none;
  std::string mode_text_;
  std::atomic<size_t> bytes_used_{0};
  std::atomic<Block*> blocks_{nullptr};
  ForkMutex registering_;  // the runtime's own lock does not survive a fork
};

}  // namespace zenwoq
