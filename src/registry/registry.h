// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Kernels by key: each generated once, outside every lock, and kept as long as the registry.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "jit/gemm_args.h"
#include "jit/key.h"
#include "jit/status.h"
#include "src/system/fork_mutex.h"

namespace zenwoq {

// Immutable once it is visible. Where generation failed, run is NULL and status says why.
struct Kernel {
  KernelKey key;
  GemmFunction run = nullptr;
  std::size_t code_bytes = 0;
  std::uint64_t generation_ns = 0;
  Status status;
};

struct RegistryStats {
  std::uint64_t kernels = 0;
  std::uint64_t code_bytes = 0;
  std::uint64_t generation_ns = 0;
  std::uint64_t refused = 0;
  std::uint64_t failed = 0;
};

class Registry {
 public:
  using Emit = std::function<Status(const KernelKey&, std::vector<std::uint8_t>*)>;
  using Load = std::function<Status(std::span<const std::uint8_t>, const void**)>;  // into executable memory
  using Log = std::function<void(const Kernel&)>;  // told of every generation, failed ones too; no lock is held

  Registry(Emit emit, Load load, Log log) : emit_(std::move(emit)), load_(std::move(load)), log_(std::move(log)) {}
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // The kernel of a key, generated if need be; a hit takes no lock. Threads that ask for a key in the making wait for
  // it. "Unsupported" is remembered: the kernel comes with run = NULL. "Out of memory" is not: *kernel is NULL, the
  // status says why, and the next call tries again. Throws bad_alloc where even the text finds no memory.
  Status get(const KernelKey& key, const Kernel** kernel);

  RegistryStats stats() const;

 private:
  struct Entry {
    Kernel kernel;
    Entry* next = nullptr;  // older entry of the same bucket
  };
  static constexpr std::size_t kBuckets = 1024;

  const Entry* find(const KernelKey& key) const;
  Status generate(const KernelKey& key, Kernel* kernel) const;
  const Kernel* publish(std::unique_ptr<Entry> entry);

  const Emit emit_;
  const Load load_;
  const Log log_;
  std::array<std::atomic<Entry*>, kBuckets> buckets_{};
  mutable ForkMutex mutex_;
  std::atomic<std::uint32_t> made_{0};  // counts the ends of making: what those wait for who want a key in the making
  struct Making {
    KernelKey key;
    std::uint32_t process;  // by fork_count(): a forked child must not wait for its parent's threads
    bool operator==(const Making&) const = default;
  };
  class Ticket;
  std::vector<Making> in_the_making_;
  RegistryStats stats_;
};

}  // namespace zenwoq
