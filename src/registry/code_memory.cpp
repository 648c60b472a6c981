// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Two ways to executable pages: a private mapping of an anonymous file that was written before (no mapping is ever
// writable), or anonymous pages that are written and then turned by mprotect (never both at once).
//
// Tables for unwinding are registered with the compiler's runtime where it finds them without a lock. libgcc before 13
// does not: the first table makes every throw of the process take a lock, which a forked child may find taken for ever.
// There somebody must ask for it; a child registers nothing, and leaves what its parent registered: tables, and the
// code that they speak of.
#include "src/registry/code_memory.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>

#include "jit/frame.h"

extern "C" void __register_frame(void* eh_frame);
extern "C" void __deregister_frame(void* eh_frame);

namespace zenwoq {
namespace {

constexpr size_t kPage = 4096;
constexpr uint8_t kInt3 = 0xCC;      // fills the rest of the last page: running off the end traps
constexpr unsigned kMfdExec = 0x10;  // MFD_EXEC, Linux 6.3; not in Debian 12's headers

constexpr uint8_t kStub[] = {0xF3, 0x0F, 0x1E, 0xFA,        // endbr64
                             0xB8, 0x2A, 0x00, 0x00, 0x00,  // mov eax, 42
                             0xC3};                         // ret

size_t whole_pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

std::string errno_text(int error) { return std::generic_category().message(error); }

// A write beyond RLIMIT_FSIZE does not only fail but raises SIGXFSZ, which kills the process; it binds a memfd too.
bool file_size_limit_below(size_t bytes) {
  rlimit limit;
  return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes;
}

// Whether tables are registered with a libgcc of 13 or newer. No function says its version: one that came with it does.
bool unwinds_without_a_lock() {
  void* const libgcc = dlopen("libgcc_s.so.1", RTLD_LAZY | RTLD_NOLOAD);
  if (libgcc == nullptr) return false;  // another runtime, or a part of the program
  const bool is_used = dlsym(libgcc, "__register_frame") == reinterpret_cast<void*>(&__register_frame);
  const bool is_new = dlvsym(libgcc, "__truncsfbf2", "GCC_13.0.0") != nullptr;
  dlclose(libgcc);
  return is_used && is_new;
}

// When the library is loaded: the loader has a lock too.
const bool kUnwindsWithoutALock = unwinds_without_a_lock();

}  // namespace

const SystemCalls& SystemCalls::real() {
  static constexpr SystemCalls calls = {::memfd_create, ::pwrite, ::mmap, ::mprotect, ::munmap, ::close};
  return calls;
}

CodeMemory::CodeMemory(size_t bytes_max, const SystemCalls& calls, const CodeMemoryWishes& wishes)
    : calls_(calls), bytes_max_(bytes_max), registers_(wishes.unwind_tables || kUnwindsWithoutALock) {
  std::string refusals;
  for (const Mode mode :
       {wishes.anonymous_first ? Mode::mprotect : Mode::memfd, wishes.anonymous_first ? Mode::memfd : Mode::mprotect}) {
    const std::string refusal = probe(mode);
    if (refusal.empty()) {
      mode_ = mode;
      mode_text_ = mode == Mode::memfd ? "memfd" : "mprotect";
      return;
    }
    refusals += formatted("{}{}", refusals.empty() ? "" : "; ", refusal);
  }
  mode_text_ = "none: " + refusals;
}

CodeMemory::~CodeMemory() {
  for (Block* block = blocks_; block != nullptr;) {
    std::unique_ptr<Block> dead(block);
    block = block->next;
    if (!dead->unwind_table.empty()) {
      if (fork_count() != 0) {
        (void)dead.release();
        continue;
      }
      const std::lock_guard lock(registering_);
      __deregister_frame(dead->unwind_table.data());
    }
    calls_.munmap(dead->address, dead->bytes);
  }
}

void CodeMemory::register_unwind_table(std::span<const uint8_t> code, Block* block) noexcept {
  if (!registers_ || fork_count() != 0) return;
  try {
    block->unwind_table = unwind_table(code, block->address);
  } catch (const std::bad_alloc&) {
    return;  // a kernel without it runs as well
  }
  if (block->unwind_table.empty()) return;
  const std::lock_guard lock(registering_);
  __register_frame(block->unwind_table.data());
}

// Why this mode does not work here; empty if it does.
std::string CodeMemory::probe(Mode mode) {
  const Placed placed = place(mode, kStub, kPage);
  if (placed.address == nullptr) return formatted("{}: {}", placed.failed, errno_text(errno));
  const int answer = reinterpret_cast<int (*)()>(placed.address)();
  calls_.munmap(placed.address, kPage);
  return answer == 42 ? "" : "the probe function returned a wrong value";
}

Status CodeMemory::add(std::span<const uint8_t> code, const void** address) {
  if (!executable()) return {ZENWOQ_ERROR_UNSUPPORTED, formatted("no executable memory ({})", mode_text_)};
  if (code.empty()) return invalid("no code");
  auto out_of_memory = [&](const std::string& why) {
    return Status(ZENWOQ_ERROR_OUT_OF_MEMORY, formatted("no memory for {} bytes of code: {}", code.size(), why));
  };
  if (code.size() > bytes_max_ || !reserve(whole_pages(code.size()))) {
    // Nothing is ever given back, so this answer is final: UNSUPPORTED, which the registry remembers.
    return {ZENWOQ_ERROR_UNSUPPORTED,
            formatted("no room for {} bytes of code: {} of the code budget of {} bytes are in use", code.size(),
                      bytes_used(), bytes_max_)};
  }
  const size_t bytes = whole_pages(code.size());
  std::unique_ptr<Block> block(new (std::nothrow) Block{nullptr, bytes, nullptr, {}});
  const Placed placed = block ? place(mode_, code, bytes) : Placed{nullptr, "malloc"};
  if (placed.address == nullptr) {
    const int error = errno;
    bytes_used_ -= bytes;
    return out_of_memory(formatted("{}: {}", placed.failed, errno_text(error)));
  }
  *address = block->address = placed.address;
  register_unwind_table(code, block.get());
  block->next = blocks_;
  while (!blocks_.compare_exchange_weak(block->next, block.get())) {}
  block.release();
  return {};
}

bool CodeMemory::reserve(size_t bytes) {
  size_t used = bytes_used_;
  do {
    if (bytes > bytes_max_ - used) return false;
  } while (!bytes_used_.compare_exchange_weak(used, used + bytes));
  return true;
}

CodeMemory::Placed CodeMemory::place(Mode mode, std::span<const uint8_t> code, size_t bytes) {
  return mode == Mode::memfd ? place_by_memfd(code, bytes) : place_by_mprotect(code, bytes);
}

CodeMemory::Placed CodeMemory::place_by_memfd(std::span<const uint8_t> code, size_t bytes) {
  if (file_size_limit_below(std::max(bytes, bytes_max_))) {  // the same answer for every size, so the probe has it too
    errno = EFBIG;
    return {nullptr, "RLIMIT_FSIZE"};
  }
  int fd = calls_.memfd_create("zenwoq", MFD_CLOEXEC | kMfdExec);
  if (fd < 0 && errno == EINVAL) fd = calls_.memfd_create("zenwoq", MFD_CLOEXEC);  // before Linux 6.3
  if (fd < 0) return {nullptr, "memfd_create"};
  const char* failed = write_file(fd, code, bytes);
  void* address = MAP_FAILED;
  if (failed == nullptr) {
    address = calls_.mmap(nullptr, bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    if (address == MAP_FAILED) failed = "mmap(PROT_EXEC)";
  }
  const int error = errno;
  calls_.close(fd);
  errno = error;
  return {failed == nullptr ? address : nullptr, failed};
}

// Writes the code and int3 up to bytes. Returns the call that failed, null if none did.
const char* CodeMemory::write_file(int fd, std::span<const uint8_t> code, size_t bytes) {
  static constexpr std::array<uint8_t, kPage> padding = [] {
    std::array<uint8_t, kPage> page{};
    page.fill(kInt3);
    return page;
  }();
  for (size_t done = 0; done < bytes;) {
    const bool in_code = done < code.size();
    const uint8_t* data = in_code ? code.data() + done : padding.data();
    const ssize_t n = calls_.pwrite(fd, data, (in_code ? code.size() : bytes) - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return "pwrite";
    done += static_cast<size_t>(n);
  }
  return nullptr;
}

CodeMemory::Placed CodeMemory::place_by_mprotect(std::span<const uint8_t> code, size_t bytes) {
  void* address = calls_.mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return {nullptr, "mmap"};
  std::memcpy(address, code.data(), code.size());
  std::memset(static_cast<uint8_t*>(address) + code.size(), kInt3, bytes - code.size());
  if (calls_.mprotect(address, bytes, PROT_READ | PROT_EXEC) == 0) return {address, nullptr};
  const int error = errno;
  calls_.munmap(address, bytes);
  errno = error;
  return {nullptr, "mprotect(PROT_EXEC)"};
}

}  // namespace zenwoq
