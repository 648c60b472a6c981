// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Buckets of immutable entries, read without a lock; one mutex for the list of keys in the making and the counters.
#include "src/registry/registry.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <mutex>

namespace zenwoq {

// Ends a key's making however get() is left, and wakes those who wait for it.
class Registry::Ticket {
 public:
  Ticket(Registry& registry, const Making& making) : registry_(registry), making_(making) {}
  ~Ticket() {
    {
      const std::lock_guard lock(registry_.mutex_);
      auto& list = registry_.in_the_making_;
      list.erase(std::find(list.begin(), list.end(), making_));
    }
    ++registry_.made_;
    registry_.made_.notify_all();
  }
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

 private:
  Registry& registry_;
  const Making& making_;
};

Registry::~Registry() {
  for (std::atomic<Entry*>& bucket : buckets_) {
    for (Entry* entry = bucket.load(); entry != nullptr;) delete std::exchange(entry, entry->next);
  }
}

const Registry::Entry* Registry::find(const KernelKey& key) const {
  const Entry* entry = buckets_[hash_value(key) % kBuckets].load(std::memory_order_acquire);
  while (entry != nullptr && !(entry->kernel.key == key)) entry = entry->next;
  return entry;
}

Status Registry::get(const KernelKey& key, const Kernel** kernel) {
  *kernel = nullptr;
  if (const Entry* entry = find(key)) {
    *kernel = &entry->kernel;
    return {};
  }
  const Making mine{key, fork_count()};
  while (true) {
    const std::uint32_t seen = made_;
    {
      const std::lock_guard lock(mutex_);
      if (const Entry* entry = find(key)) {
        *kernel = &entry->kernel;
        return {};
      }
      if (std::find(in_the_making_.begin(), in_the_making_.end(), mine) == in_the_making_.end()) {
        in_the_making_.push_back(mine);  // may throw: nothing has happened yet
        break;
      }
    }
    made_.wait(seen);
  }
  const Ticket ticket(*this, mine);
  auto entry = std::make_unique<Entry>();
  const Status status = generate(key, &entry->kernel);
  const std::lock_guard lock(mutex_);
  if (!status.ok() && status.code() != ZENWOQ_ERROR_UNSUPPORTED) {
    ++stats_.failed;
    return status;
  }
  *kernel = publish(std::move(entry));
  return {};
}

// Called without the lock. out: the kernel, its status the one returned.
Status Registry::generate(const KernelKey& key, Kernel* kernel) const {
  const auto start = std::chrono::steady_clock::now();
  kernel->key = key;
  try {
    std::vector<std::uint8_t> code;
    const void* address = nullptr;
    kernel->status = emit_(key, &code);
    if (kernel->status.ok()) kernel->status = load_(code, &address);
    kernel->run = std::bit_cast<GemmFunction>(address);
    kernel->code_bytes = code.size();
    const auto elapsed = std::chrono::steady_clock::now() - start;
    kernel->generation_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(elapsed).count());
    if (log_) log_(*kernel);
  } catch (const std::bad_alloc&) {
    kernel->status = {ZENWOQ_ERROR_OUT_OF_MEMORY, "no memory to generate a kernel"};
  }
  return kernel->status;
}

// Under the lock. Readers see the entry whole or not at all.
const Kernel* Registry::publish(std::unique_ptr<Entry> entry) {
  if (entry->kernel.status.ok()) {
    ++stats_.kernels;
    stats_.code_bytes += entry->kernel.code_bytes;
    stats_.generation_ns += entry->kernel.generation_ns;
  } else {
    ++stats_.refused;
  }
  std::atomic<Entry*>& bucket = buckets_[hash_value(entry->kernel.key) % kBuckets];
  entry->next = bucket.load(std::memory_order_relaxed);
  bucket.store(entry.get(), std::memory_order_release);
  return &entry.release()->kernel;
}

RegistryStats Registry::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace zenwoq
