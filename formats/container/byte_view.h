// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Bytes of a file that is not trusted: every sub-range, read and product of declared sizes is checked.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "formats/container/text.h"

namespace zenwoq::formats {

inline std::optional<std::uint64_t> checked_sum(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::nullopt : std::optional(sum);
}

inline std::optional<std::uint64_t> checked_product(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::nullopt : std::optional(product);
}

// Does not own the bytes.
class ByteView {
 public:
  ByteView() = default;
  ByteView(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  const std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }
  const std::uint8_t* begin() const { return data_; }
  const std::uint8_t* end() const { return data_ + size_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

  bool contains(std::uint64_t offset, std::uint64_t size) const { return offset <= size_ && size <= size_ - offset; }

  ByteView sub(std::uint64_t offset, std::uint64_t size) const {
    if (!contains(offset, size)) fail("{} bytes at {} lie outside of {} bytes", size, offset, size_);
    return {data_ + offset, static_cast<std::size_t>(size)};
  }

  // Files are little-endian, and so is every CPU that zenwoq is for.
  template <std::integral T>
  T read_le(std::uint64_t offset) const {
    static_assert(std::endian::native == std::endian::little);
    T value{};
    std::memcpy(&value, sub(offset, sizeof value).data(), sizeof value);
    return value;
  }

 private:
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace zenwoq::formats
