// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Memory for packed weights is aligned, never handed out twice, and given back, whichever threads allocate it.
#include "src/weight/buffer.h"

#include <gtest/gtest.h>
#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/forked.h"

namespace zenwoq::test {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

std::uintptr_t address(const PackedBuffer& buffer) { return reinterpret_cast<std::uintptr_t>(buffer.get()); }

bool all_are(const PackedBuffer& buffer, std::size_t bytes, std::uint8_t value) {
  return std::all_of(buffer.get(), buffer.get() + bytes, [&](std::uint8_t byte) { return byte == value; });
}

// MiB of this process's address space.
std::size_t mapped_mib() {
  std::ifstream file("/proc/self/statm");
  std::size_t pages = 0;
  file >> pages;
  return pages * 4096 / kMiB;
}

TEST(PackedBuffer, IsAlignedForHugePagesFrom2MiBOn) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{64}, kMiB, 2 * kMiB - 64, 2 * kMiB - 1}) {
    const PackedBuffer buffer = allocate_packed(bytes);
    ASSERT_NE(buffer, nullptr);
    EXPECT_EQ(address(buffer) % 64, 0u);
    std::memset(buffer.get(), 1, bytes);
  }
  for (const std::size_t bytes : {2 * kMiB, 2 * kMiB + 64, 4 * kMiB - 64, 33 * kMiB}) {
    const PackedBuffer buffer = allocate_packed(bytes);
    ASSERT_NE(buffer, nullptr);
    EXPECT_EQ(address(buffer) % (2 * kMiB), 0u);
    std::memset(buffer.get(), 1, bytes);
  }
}

TEST(PackedBuffer, IsNullWhereThereIsNoMemory) {
  for (const std::size_t bytes : {std::size_t{PTRDIFF_MAX}, std::size_t{PTRDIFF_MAX} / 64 * 64, std::size_t{1} << 60}) {
    EXPECT_EQ(allocate_packed(bytes), nullptr);
  }
}

#if !defined(__SANITIZE_ADDRESS__)
TEST(PackedBuffer, SmallOnesLieSideBySide) {
  const PackedBuffer first = allocate_packed(100);
  const PackedBuffer second = allocate_packed(100);
  if (address(first) / (8 * kMiB) == address(second) / (8 * kMiB)) {
    EXPECT_EQ(address(second) - address(first), 128u);
  } else {
    EXPECT_EQ(address(second) % (8 * kMiB), 64u);  // the first was the last of its mapping
  }
}

TEST(PackedBuffer, AnEmptyMappingIsFilledAnew) {
  const auto fill = [] {
    std::vector<PackedBuffer> buffers;
    for (int i = 0; i < 200; ++i) buffers.push_back(allocate_packed(kMiB));  // about 30 mappings
    return mapped_mib();
  };
  fill();
  const std::size_t before = mapped_mib();
  const std::size_t full = fill();
  EXPECT_GE(full, before + 180);
  EXPECT_LE(mapped_mib(), before + 8);
  const PackedBuffer first = allocate_packed(kMiB);
  EXPECT_EQ(address(first) % (8 * kMiB), 64u);
}
#endif

// Each thread fills its buffers with its own value and finds it again, while others allocate and free.
TEST(PackedBuffer, IsNobodysTwice) {
  const auto work = [](std::uint8_t value) {
    std::mt19937 rng(value);
    struct Held {
      PackedBuffer buffer;
      std::size_t bytes;
    };
    std::vector<Held> held;
    for (int i = 0; i < 400; ++i) {
      if (held.size() == 8 || (!held.empty() && rng() % 3 == 0)) {
        std::swap(held[rng() % held.size()], held.back());
        ASSERT_TRUE(all_are(held.back().buffer, held.back().bytes, value));
        held.pop_back();
      }
      const std::size_t bytes = 1 + rng() % (rng() % 4 == 0 ? 2 * kMiB : 100000);
      held.push_back({allocate_packed(bytes), bytes});
      ASSERT_NE(held.back().buffer, nullptr);
      std::memset(held.back().buffer.get(), value, bytes);
    }
    for (const Held& each : held) ASSERT_TRUE(all_are(each.buffer, each.bytes, value));
  };
  std::vector<std::thread> threads;
  for (std::uint8_t value = 1; value <= 4; ++value) threads.emplace_back(work, value);
  for (std::thread& thread : threads) thread.join();
}

// A forked child can allocate and free, whatever other threads were doing at the fork.
TEST(PackedBuffer, AForkedChildGoesOn) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop) allocate_packed(kMiB + kMiB / 2);
    });
  }
  for (int i = 0; i < 100; ++i) {
    const auto allocate = [] {
      for (int k = 0; k < 10; ++k) {
        if (allocate_packed(kMiB) == nullptr) return false;
      }
      return true;
    };
    ASSERT_EQ(exit_of_child(allocate), 0) << "fork " << i;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace zenwoq::test
