// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The registry: one generation per key under contention, failures remembered or tried again; and the grammar of names.
#include "src/registry/registry.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "jit/jit.h"
#include "tests/support/forked.h"

namespace zenwoq {
namespace {

KernelKey key_of(std::uint64_t k) {
  KernelKey key;
  key.k = k;
  key.group = 32;
  return key;
}

Status no_load(std::span<const std::uint8_t> code, const void** address) {
  *address = code.data();
  return {};
}

TEST(Registry, GeneratesAKeyOnceUnderContention) {
  constexpr int kThreads = 8, kKeys = 20;
  std::atomic<int> generated{0};
  const auto slow_emit = [&](const KernelKey&, std::vector<std::uint8_t>* code) -> Status {
    ++generated;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    code->assign(10, 0xC3);
    return {};
  };
  Registry registry(slow_emit, no_load, {});
  std::vector<std::set<const Kernel*>> seen(kKeys);
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kKeys; ++i) {
        const Kernel* kernel = nullptr;
        EXPECT_TRUE(registry.get(key_of(64 + 32 * i), &kernel).ok());
        const std::lock_guard lock(mutex);
        seen[i].insert(kernel);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(generated, kKeys);
  for (const auto& kernels : seen) EXPECT_EQ(kernels.size(), 1u);
  EXPECT_EQ(registry.stats().kernels, static_cast<std::uint64_t>(kKeys));
  EXPECT_EQ(registry.stats().code_bytes, 10u * kKeys);
}

TEST(Registry, DifferentKeysAreMadeAtTheSameTime) {
  std::atomic<int> inside{0}, most{0};
  const auto emit = [&](const KernelKey&, std::vector<std::uint8_t>*) -> Status {
    most = std::max(most.load(), ++inside);
    for (int i = 0; i < 2000 && most < 2; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --inside;
    return {};
  };
  Registry registry(emit, no_load, {});
  std::thread other([&] {
    const Kernel* kernel = nullptr;
    (void)registry.get(key_of(64), &kernel);
  });
  const Kernel* kernel = nullptr;
  (void)registry.get(key_of(96), &kernel);
  other.join();
  EXPECT_EQ(most, 2);
}

TEST(Registry, UnsupportedIsRememberedOutOfMemoryIsNot) {
  int calls = 0;
  zenwoq_status outcome = ZENWOQ_ERROR_OUT_OF_MEMORY;
  const auto emit = [&](const KernelKey&, std::vector<std::uint8_t>*) -> Status {
    return ++calls, Status(outcome, "made up");
  };
  Registry registry(emit, no_load, {});
  const Kernel* kernel = nullptr;
  EXPECT_EQ(registry.get(key_of(64), &kernel).code(), ZENWOQ_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(kernel, nullptr);
  outcome = ZENWOQ_ERROR_UNSUPPORTED;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(registry.get(key_of(64), &kernel).ok());
    ASSERT_NE(kernel, nullptr);
    EXPECT_EQ(kernel->run, nullptr);
    EXPECT_EQ(kernel->status.text(), "made up");
  }
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(registry.stats().refused, 1u);
  EXPECT_EQ(registry.stats().failed, 1u);
}

TEST(Registry, AThrowingGeneratorLeavesNothingBehind) {
  int calls = 0;
  const auto emit = [&](const KernelKey&, std::vector<std::uint8_t>*) -> Status {
    if (++calls == 1) throw std::bad_alloc();
    return {};
  };
  Registry registry(emit, no_load, {});
  const Kernel* kernel = nullptr;
  EXPECT_EQ(registry.get(key_of(64), &kernel).code(), ZENWOQ_ERROR_OUT_OF_MEMORY);
  EXPECT_TRUE(registry.get(key_of(64), &kernel).ok());
  EXPECT_NE(kernel, nullptr);
}

// A child forked while a thread makes a kernel, and others wait for it, makes it itself and may destroy the registry:
// it waits for no thread that it does not have.
TEST(Registry, AForkedChildMakesWhatItsParentIsMaking) {
  std::atomic<bool> started{false}, go_on{false};
  const std::uint32_t parent = fork_count();
  const auto emit = [&](const KernelKey& key, std::vector<std::uint8_t>* code) -> Status {
    if (key == key_of(64) && fork_count() == parent) {
      for (started = true; !go_on;) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    code->assign(10, 0xC3);
    return {};
  };
  auto registry = std::make_unique<Registry>(emit, no_load, Registry::Log());
  const auto makes = [&](std::uint64_t k) {
    const Kernel* kernel = nullptr;
    return registry->get(key_of(k), &kernel).ok() && kernel != nullptr;
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) threads.emplace_back([&] { EXPECT_TRUE(makes(64)); });
  while (!started) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // the other two wait by now
  const auto child = [&] {
    return makes(96) && makes(64) && registry->stats().kernels == 2 && (registry.reset(), true);
  };
  EXPECT_EQ(test::exit_of_child([&] { return makes(64) && test::exit_of_child([&] { return makes(64); }) == 0; }), 0);
  EXPECT_EQ(test::exit_of_child(child), 0);
  go_on = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(registry->stats().kernels, 1u);
}

TEST(Registry, AForkedChildNeverFindsItLocked) {
  const auto emit = [](const KernelKey&, std::vector<std::uint8_t>* code) -> Status {
    return code->assign(10, 0xC3), Status();
  };
  Registry registry(emit, no_load, {});
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> next{1};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        const Kernel* kernel = nullptr;
        if (next < 20000) (void)registry.get(key_of(32 * next++), &kernel);
        (void)registry.stats();
      }
    });
  }
  for (std::uint64_t i = 0; i < (ZENWOQ_TSAN ? 20 : 200); ++i) {
    const Kernel* kernel = nullptr;
    ASSERT_EQ(test::exit_of_child([&] { return registry.get(key_of((1 << 20) + 32 * i), &kernel).ok(); }), 0) << i;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

// Keys that differ in one field only are different kernels, even in one bucket.
TEST(Registry, KeysAreComparedWhole) {
  const auto emit = [](const KernelKey&, std::vector<std::uint8_t>*) -> Status { return {}; };
  Registry registry(emit, no_load, {});
  std::vector<KernelKey> keys;
  for (std::uint64_t k = 64; k < 64 + 5000; ++k) keys.push_back(key_of(k));
  KernelKey key = key_of(8192);
  keys.push_back(key);
  for (const auto change : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}) {
    key = key_of(8192);
    if (change == 0) key.group = 64;
    if (change == 1) key.scale_type = ZENWOQ_F16;
    if (change == 2) key.zero_kind = ZENWOQ_ZERO_OFFSET;
    if (change == 3) key.tile = {2, 4};
    if (change == 4) key.output_type = ZENWOQ_BF16;
    if (change == 5) key.epilogue.bias = true;
    if (change == 6) key.habits.share_x = true;
    if (change == 7) key.habits.decode_first = true;
    if (change == 8) key.habits.prefetch.bytes = 64;
    if (change == 9) key.habits.prefetch.every = 2;
    if (change == 10) key.habits.prefetch.to_l2 = true;
    if (change == 11) key.tier = ZENWOQ_TIER_AVX2;
    keys.push_back(key);
  }
  std::set<const Kernel*> kernels;
  for (const KernelKey& each : keys) {
    const Kernel* kernel = nullptr;
    ASSERT_TRUE(registry.get(each, &kernel).ok());
    EXPECT_TRUE(kernel->key == each);
    kernels.insert(kernel);
  }
  EXPECT_EQ(kernels.size(), keys.size());
}

}  // namespace
}  // namespace zenwoq
