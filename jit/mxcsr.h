// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The floating-point environment of a scope; the caller's comes back unchanged, sticky flags included.
#pragma once

#include <xmmintrin.h>

namespace zenwoq {

class MxcsrScope {
 public:
  // Flush-to-zero (bit 15), all exceptions masked (12..7), denormals-are-zero (6), round to nearest even (14..13 = 0).
  static constexpr unsigned kContract = 0x9FC0;
  static constexpr unsigned kIeee = 0x1F80;  // the default: denormals kept

  explicit MxcsrScope(unsigned value) : caller_(_mm_getcsr()) { _mm_setcsr(value); }
  ~MxcsrScope() { _mm_setcsr(caller_); }
  MxcsrScope(const MxcsrScope&) = delete;
  MxcsrScope& operator=(const MxcsrScope&) = delete;

 private:
  const unsigned caller_;
};

}  // namespace zenwoq
