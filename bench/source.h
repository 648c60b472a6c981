// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Random weights and activations in the form in which a checkpoint has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "zenwoq/zenwoq.h"

namespace zenwoq::bench {

// A weight's shape and quantization.
struct Format {
  std::size_t n = 0;
  std::size_t k = 0;
  std::size_t group = 0;  // 0 = per channel
  zenwoq_dtype scale = ZENWOQ_BF16;
  zenwoq_zero_kind zero = ZENWOQ_ZERO_NONE;

  bool operator==(const Format&) const = default;
  std::size_t groups() const { return group == 0 ? 1 : (k + group - 1) / group; }
  std::size_t zero_bytes() const;  // of one zero point
  // Bytes of the source: 4 bits a weight, scales and zeros in their own type.
  double bytes() const;
  zenwoq_weight_desc desc() const;
  std::string name() const;  // "4096x4096/g128/sbf16/z0": parts as in the names of kernels
};

// Codes, scales and zeros of a format.
class Source {
 public:
  Source(const Format& format, zenwoq_code_layout layout);
  zenwoq_weight_source view() const;

 private:
  zenwoq_code_layout layout_;
  std::vector<std::uint8_t> codes_, scales_, zeros_;
};

// `count` finite bf16 numbers, 1 <= |x| < 2.
std::vector<std::uint16_t> random_activations(std::size_t count);

}  // namespace zenwoq::bench
