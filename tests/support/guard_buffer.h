// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A buffer that ends exactly at a page without access (and has another before it), so that one byte too far is a crash.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <new>

namespace zenwoq::test {

class GuardBuffer {
 public:
  explicit GuardBuffer(std::size_t bytes, std::uint8_t fill = 0xA5) : bytes_(bytes) {
    const std::size_t page = static_cast<std::size_t>(getpagesize());
    inner_bytes_ = (bytes + page - 1) / page * page;
    void* mapping = mmap(nullptr, inner_bytes_ + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    mapping_ = static_cast<std::uint8_t*>(mapping);
    inner_ = mapping_ + page;
    if (inner_bytes_ != 0 && mprotect(inner_, inner_bytes_, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    std::memset(inner_, fill, inner_bytes_);
  }
  ~GuardBuffer() { munmap(mapping_, inner_bytes_ + 2 * static_cast<std::size_t>(getpagesize())); }
  GuardBuffer(const GuardBuffer&) = delete;
  GuardBuffer& operator=(const GuardBuffer&) = delete;

  std::uint8_t* data() { return inner_ + inner_bytes_ - bytes_; }
  std::size_t size() const { return bytes_; }
  void make_read_only() {
    if (inner_bytes_ != 0) mprotect(inner_, inner_bytes_, PROT_READ);
  }

 private:
  std::size_t bytes_;
  std::size_t inner_bytes_;
  std::uint8_t* mapping_;
  std::uint8_t* inner_;
};

}  // namespace zenwoq::test
