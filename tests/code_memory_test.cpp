// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Code memory runs what it is given, is never writable and executable, and survives refusals of the system.
#include "src/registry/code_memory.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

namespace zenwoq {
namespace {

constexpr size_t kMiB = 1 << 20;

// ---- A system that counts calls and fails on demand ----

struct FakeSystem {
  int fail_call = 0;  // the number of the call that fails, counted from 1; 0 = none
  int error = ENOMEM;
  bool no_memfd = false, no_exec = false, old_kernel = false, one_byte_writes = false;
  std::atomic<int> calls{0}, mapped{0}, unmapped{0}, opened{0}, closed{0}, writable_and_executable{0};
  std::atomic<unsigned> memfd_flags{0};
};
FakeSystem* fake = nullptr;

bool refused() {
  if (++fake->calls != fake->fail_call) return false;
  errno = fake->error;
  return true;
}

void check_protection(int protection) {
  if ((protection & PROT_WRITE) && (protection & PROT_EXEC)) ++fake->writable_and_executable;
}

int fake_memfd_create(const char* name, unsigned flags) {
  if (refused()) return -1;
  if (fake->no_memfd) return errno = ENOSYS, -1;
  constexpr unsigned kMfdExec = 0x10;
  if (fake->old_kernel && (flags & kMfdExec)) return errno = EINVAL, -1;
  fake->memfd_flags = flags;
  const int fd = memfd_create(name, flags);
  if (fd >= 0) ++fake->opened;
  return fd;
}

ssize_t fake_pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  if (refused()) return -1;
  return pwrite(fd, data, fake->one_byte_writes ? 1 : bytes, offset);
}

void* fake_mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  check_protection(protection);
  if (refused()) return MAP_FAILED;
  if (fake->no_exec && (protection & PROT_EXEC)) return errno = EACCES, MAP_FAILED;
  void* mapping = mmap(address, bytes, protection, flags, fd, offset);
  if (mapping != MAP_FAILED) ++fake->mapped;
  return mapping;
}

int fake_mprotect(void* address, size_t bytes, int protection) {
  check_protection(protection);
  if (refused()) return -1;
  if (fake->no_exec && (protection & PROT_EXEC)) return errno = EACCES, -1;
  return mprotect(address, bytes, protection);
}

int fake_munmap(void* address, size_t bytes) {
  ++fake->unmapped;
  return munmap(address, bytes);
}

int fake_close(int fd) {
  ++fake->closed;
  return close(fd);
}

constexpr SystemCalls kFakeCalls = {fake_memfd_create, fake_pwrite, fake_mmap, fake_mprotect, fake_munmap, fake_close};

// ---- Helpers ----

// endbr64; mov eax, value; ret; then nops up to `bytes`.
std::vector<uint8_t> function_returning(uint32_t value, size_t bytes = 10) {
  std::vector<uint8_t> code = {0xF3, 0x0F, 0x1E, 0xFA, 0xB8};
  for (int shift = 0; shift < 32; shift += 8) code.push_back(static_cast<uint8_t>(value >> shift));
  code.push_back(0xC3);
  code.resize(bytes, 0x90);
  return code;
}

uint32_t call(const void* address) {
  return reinterpret_cast<uint32_t (*)()>(const_cast<void*>(address))();  // NOLINT
}

const void* add_function(CodeMemory& memory, uint32_t value, size_t bytes = 10) {
  const void* address = nullptr;
  const Status status = memory.add(function_returning(value, bytes), &address);
  EXPECT_TRUE(status.ok()) << status.text();
  return address;
}

// How a forked child ends: its exit status, or 1000 + the signal.
int end_of_child(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);  // sanitizers catch it otherwise
    signal(SIGTRAP, SIG_DFL);
    alarm(120);
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

// The lines of this process's mappings that are both writable and executable.
std::string writable_code_mappings() {
  std::ifstream maps("/proc/self/maps");
  std::string bad;
  for (std::string line; std::getline(maps, line);) {
    const std::string permissions = line.substr(line.find(' ') + 1, 4);
    if (permissions[1] == 'w' && permissions[2] == 'x') bad += line + "\n";
  }
  return bad;
}

// Every test runs in both modes: the parameter says whether memfd is available.
class CodeMemoryModes : public testing::TestWithParam<bool> {
 protected:
  CodeMemoryModes() {
    fake = &system_;
    system_.no_memfd = !GetParam();
  }
  const char* mode() const { return GetParam() ? "memfd" : "mprotect"; }
  FakeSystem system_;
};
INSTANTIATE_TEST_SUITE_P(All, CodeMemoryModes, testing::Values(true, false),
                         [](const auto& info) { return info.param ? "memfd" : "mprotect"; });

TEST_P(CodeMemoryModes, RunsManyFunctionsWithInt3BehindThem) {
  CodeMemory memory(64 * kMiB, kFakeCalls);
  ASSERT_EQ(memory.mode(), mode());
  EXPECT_EQ(memory.bytes_used(), 0u);
  std::vector<const void*> functions;
  const size_t sizes[] = {10, 11, 4095, 4096, 4097, 8192, 100000};
  size_t pages = 0;
  for (size_t size : sizes) {
    functions.push_back(add_function(memory, static_cast<uint32_t>(size), size));
    pages += (size + 4095) / 4096;
  }
  EXPECT_EQ(memory.bytes_used(), pages * 4096);
  for (size_t i = 0; i < functions.size(); ++i) {
    EXPECT_EQ(call(functions[i]), sizes[i]);
    const uint8_t* bytes = static_cast<const uint8_t*>(functions[i]);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes) % 4096, 0u);
    EXPECT_EQ(std::vector<uint8_t>(bytes, bytes + sizes[i]),
              function_returning(static_cast<uint32_t>(sizes[i]), sizes[i]));
    for (size_t b = sizes[i]; b % 4096 != 0; ++b) ASSERT_EQ(bytes[b], 0xCC) << sizes[i] << " " << b;
  }
  EXPECT_EQ(system_.writable_and_executable, 0);
}

TEST_P(CodeMemoryModes, CodeIsNotWritable) {
  CodeMemory memory(kMiB, kFakeCalls);
  const void* address = add_function(memory, 7);
  EXPECT_EQ(end_of_child([&] {
              *static_cast<volatile uint8_t*>(const_cast<void*>(address)) = 0xC3;
              return true;
            }),
            1000 + SIGSEGV);
  EXPECT_EQ(end_of_child([&] { return call(static_cast<const uint8_t*>(address) + 10) != 0; }), 1000 + SIGTRAP)
      << "past the end";
}

TEST_P(CodeMemoryModes, NoMappingIsEverWritableAndExecutable) {
  CodeMemory memory(64 * kMiB, kFakeCalls);
  ASSERT_EQ(writable_code_mappings(), "") << "before any code was added";
  std::atomic<int> running{4};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < 200; ++i) {
        const void* address = add_function(memory, t << 16 | i, 5000);
        EXPECT_EQ(address == nullptr ? 0 : call(address), t << 16 | i);
      }
      --running;
    });
  }
  while (running > 0) ASSERT_EQ(writable_code_mappings(), "");
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(system_.writable_and_executable, 0);
  EXPECT_EQ(memory.bytes_used(), 4u * 200 * 8192);
}

TEST_P(CodeMemoryModes, BudgetCountsWholePages) {
  CodeMemory memory(3 * 4096 + 100, kFakeCalls);
  const void* address = add_function(memory, 1);
  add_function(memory, 2, 4097);
  const void* untouched = &memory;
  const void* refused_address = untouched;
  const Status status = memory.add(function_returning(3), &refused_address);
  EXPECT_EQ(status.code(), ZENWOQ_ERROR_UNSUPPORTED);
  EXPECT_EQ(status.text(), "no room for 10 bytes of code: 12288 of the code budget of 12388 bytes are in use");
  EXPECT_EQ(refused_address, untouched);
  EXPECT_EQ(memory.bytes_used(), 12288u);
  EXPECT_EQ(call(address), 1u);
  EXPECT_EQ(memory.add(function_returning(3, 1 << 20), &refused_address).code(), ZENWOQ_ERROR_UNSUPPORTED);
  EXPECT_EQ(memory.add({}, &refused_address).code(), ZENWOQ_ERROR_INVALID_ARGUMENT);
}

TEST_P(CodeMemoryModes, ThreadsNeverExceedTheBudget) {
  CodeMemory memory(40 * 4096, kFakeCalls);
  std::atomic<int> added{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      const void* address;
      for (int i = 0; i < 30; ++i) added += memory.add(function_returning(1), &address).ok() ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(added, 40);
  EXPECT_EQ(memory.bytes_used(), 40u * 4096);
}

TEST_P(CodeMemoryModes, ChildSharesNothingBack) {
  CodeMemory memory(kMiB, kFakeCalls);
  const void* address = add_function(memory, 1);
  const size_t used = memory.bytes_used();
  EXPECT_EQ(end_of_child([&] {
              if (call(address) != 1) return false;
              const void* childs = add_function(memory, 2);
              // Even by force: made writable in the child, the page is the child's own copy.
              void* page = const_cast<void*>(address);
              if (mprotect(page, 4096, PROT_READ | PROT_WRITE) != 0) return false;
              static_cast<uint8_t*>(page)[5] = 99;
              if (mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0) return false;
              return call(childs) == 2 && call(address) == 99;
            }),
            0);
  EXPECT_EQ(call(address), 1u);
  EXPECT_EQ(memory.bytes_used(), used);
}

TEST_P(CodeMemoryModes, ForkWhileOthersGenerate) {
  CodeMemory memory(256 * kMiB, kFakeCalls);
  std::atomic<bool> stop{false};
  std::thread other([&] {
    const void* address;
    while (!stop && memory.add(function_returning(5), &address).ok()) {
      std::this_thread::sleep_for(std::chrono::microseconds(20));  // does not exhaust the budget
    }
  });
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(end_of_child([&] { return call(add_function(memory, 6)) == 6; }), 0);
  }
  stop = true;
  other.join();
}

// Every system call in turn fails, from the probe in the constructor to the second generation.
TEST_P(CodeMemoryModes, AnyFailingCallLeavesNoLeak) {
  bool beyond_the_last = false;
  for (int n = 1; !beyond_the_last; ++n) {
    ASSERT_LT(n, 100);
    FakeSystem system;
    system.no_memfd = !GetParam();
    system.fail_call = n;
    fake = &system;
    {
      CodeMemory memory(kMiB, kFakeCalls);
      int good = 0;
      for (uint32_t value = 1; value <= 2; ++value) {
        const void* address = nullptr;
        const Status status = memory.add(function_returning(value), &address);
        EXPECT_EQ(status.ok(), address != nullptr);
        EXPECT_EQ(status.ok(), status.text().empty());
        if (!status.ok()) continue;
        EXPECT_EQ(call(address), value);
        ++good;
      }
      if (!memory.executable()) {
        EXPECT_EQ(good, 0);
      }
      EXPECT_EQ(memory.bytes_used(), 4096u * static_cast<unsigned>(good)) << "call " << n;
      beyond_the_last = system.calls < n;
      EXPECT_EQ(system.opened, system.closed);
    }
    EXPECT_EQ(system.mapped, system.unmapped) << "call " << n;
    EXPECT_EQ(system.opened, system.closed) << "call " << n;
  }
  fake = &system_;
}

TEST_P(CodeMemoryModes, UnderMdwe) {
  constexpr int kSetMdwe = 65, kRefuseExecGain = 1;  // PR_SET_MDWE, Linux 6.3; not in Debian 12's headers
  const int end = end_of_child([&] {
    if (prctl(kSetMdwe, kRefuseExecGain, 0, 0, 0) != 0) _exit(errno == EINVAL ? 77 : 1);
    CodeMemory memory(kMiB, kFakeCalls);
    const void* address = nullptr;
    const Status status = memory.add(function_returning(8), &address);
    if (GetParam()) return memory.mode() == "memfd" && status.ok() && call(address) == 8;
    return memory.mode() == "none: memfd_create: Function not implemented; mprotect(PROT_EXEC): Permission denied" &&
           status.code() == ZENWOQ_ERROR_UNSUPPORTED;
  });
  if (end == 77) GTEST_SKIP() << "this kernel has no PR_SET_MDWE (needs Linux 6.3): the refusal is NOT tested";
  EXPECT_EQ(end, 0);
}

// ---- The choice of the mode ----

class CodeMemoryProbe : public testing::Test {
 protected:
  CodeMemoryProbe() { fake = &system_; }
  FakeSystem system_;
};

TEST_F(CodeMemoryProbe, NothingIsExecutable) {
  system_.no_exec = true;
  CodeMemory memory(kMiB, kFakeCalls);
  EXPECT_FALSE(memory.executable());
  EXPECT_EQ(memory.mode(), "none: mmap(PROT_EXEC): Permission denied; mprotect(PROT_EXEC): Permission denied");
  const void* address = nullptr;
  const Status status = memory.add(function_returning(1), &address);
  EXPECT_EQ(status.code(), ZENWOQ_ERROR_UNSUPPORTED);
  EXPECT_EQ(status.text(), "no executable memory (" + memory.mode() + ")");
  EXPECT_EQ(address, nullptr);
}

TEST_F(CodeMemoryProbe, AsksForAnExecutableMemfd) {
  EXPECT_EQ(CodeMemory(kMiB, kFakeCalls).mode(), "memfd");
  EXPECT_EQ(system_.memfd_flags & 0x11, 0x11u) << "MFD_CLOEXEC | MFD_EXEC";
}

TEST_F(CodeMemoryProbe, OldKernelsDoNotKnowMfdExec) {
  system_.old_kernel = true;
  EXPECT_EQ(CodeMemory(kMiB, kFakeCalls).mode(), "memfd");
  EXPECT_EQ(system_.memfd_flags & 0x11, 0x01u) << "MFD_CLOEXEC";
}

TEST_F(CodeMemoryProbe, ShortAndInterruptedWrites) {
  system_.one_byte_writes = true;
  CodeMemory memory(kMiB, kFakeCalls);
  ASSERT_EQ(memory.mode(), "memfd");
  system_.fail_call = system_.calls + 100;
  system_.error = EINTR;
  EXPECT_EQ(call(add_function(memory, 123, 300)), 123u);
}

// A write beyond the limit would kill the process with SIGXFSZ.
TEST_F(CodeMemoryProbe, FileSizeLimit) {
  EXPECT_EQ(end_of_child([] {
              const rlimit limit = {4096, RLIM_INFINITY};
              if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return false;
              CodeMemory memory(kMiB);
              return memory.mode() == "mprotect" && call(add_function(memory, 4, 5000)) == 4;
            }),
            0);
}

TEST_F(CodeMemoryProbe, TheRealSystem) {
  CodeMemory memory(kMiB);
  if (!memory.executable()) GTEST_SKIP() << memory.mode();
  EXPECT_EQ(call(add_function(memory, 77)), 77u);
}

}  // namespace
}  // namespace zenwoq
