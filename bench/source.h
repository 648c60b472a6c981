// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Random weights and activations in the form in which a checkpoint has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "src/weight/quantization.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq::bench {

// What codes mean: integers, or 16 values that kernels must look up.
enum class Table { integer, nf4, fp4, e2m1, iq4_nl };
inline constexpr Table kTables[] = {Table::integer, Table::nf4, Table::fp4, Table::e2m1, Table::iq4_nl};
const char* table_name(Table table);

// A weight as rows of results name it.
struct Format : Quantization {
  // bf16 scales, no zeros, the code table that descriptions begin with.
  Format(std::size_t n, std::size_t k, std::size_t group_size);

  void set_table(Table table);

  // Bytes of the source: 4 bits a weight, scales and zeros in their own type.
  double bytes() const;
  std::string name() const;  // "4096x4096/g128/sbf16/z0", then "/nf4": parts as in the names of kernels
  // The name has all that formats differ in.
  bool operator==(const Format& other) const { return name() == other.name(); }

 private:
  Table table_ = Table::integer;
};

// Codes, scales and zeros of a format; blocks of GGUF must be what the format says.
class Source {
 public:
  Source(const Format& format, zenwoq_code_layout layout);
  zenwoq_weight_source view() const;

 private:
  zenwoq_code_layout layout_;
  std::vector<std::uint8_t> codes_, scales_, zeros_, super_scales_, super_offsets_;
  std::vector<std::uint32_t> permutation_;  // empty: columns are in order
};

// `count` finite bf16 numbers, 1 <= |x| < 2.
std::vector<std::uint16_t> random_activations(std::size_t count);

}  // namespace zenwoq::bench
