// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The checksum of .zwq files: XXH64 with seed 0, which finds damage and is no signature.
#pragma once

#include <cstdint>
#include <memory>

#include "formats/container/byte_view.h"

namespace zenwoq::formats {

// Of bytes that come in several pieces.
class Checksum {
 public:
  Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;
  ~Checksum();

  void add(ByteView bytes);
  std::uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::uint64_t checksum_of(ByteView bytes);

}  // namespace zenwoq::formats
