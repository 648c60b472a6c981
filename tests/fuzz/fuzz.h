// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput; it ends the process where the library
// breaks a promise. libFuzzer drives it (tools/fuzz.sh), or replay.cpp with a fixed number of inputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "zenwoq/zenwoq.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace zenwoq::fuzz {

// Ends the process with a line that says which promise was broken.
[[noreturn]] void broken(const char* file, int line, const char* promise);
#define ZENWOQ_PROMISE(condition)                                             \
  do {                                                                        \
    if (!(condition)) ::zenwoq::fuzz::broken(__FILE__, __LINE__, #condition); \
  } while (0)

// Takes values off the front of an input; zeros once it is used up.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  template <typename T>
  T take() {
    T value{};
    const std::size_t bytes = size_ < sizeof value ? size_ : sizeof value;
    if (bytes != 0) std::memcpy(&value, data_, bytes);
    data_ += bytes, size_ -= bytes;
    return value;
  }
  // In [low, high], two bytes.
  std::size_t pick(std::size_t low, std::size_t high) { return low + take<std::uint16_t>() % (high - low + 1); }
  // `count` bytes in memory of exactly that size: repeated where the input is shorter, and stays as it is.
  std::vector<std::uint8_t> bytes(std::size_t count) const {
    std::vector<std::uint8_t> result(count);
    for (std::size_t i = 0; i < count && size_ != 0; ++i) result[i] = data_[i % size_];
    return result;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

// A context of each tier that this CPU runs, the reference first. Made once.
const std::vector<zenwoq_context*>& contexts();

// Runs m rows of x made from `input` on every context, with an epilogue that its first byte says: one gives the bits of
// the other, or all refuse the epilogue.
void check_runs(const zenwoq_weight* weight, std::size_t m, Input input);

}  // namespace zenwoq::fuzz
