// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Compares a layer's result with the f64 product of the codes, scales and zeros as the checkpoint has them.
//
//   exact[r,n] = s * sum over k of x[r,k] * (S * (T[code] + 8 - z) + B)  (+ bias)     S, z, B of the group of k
//                                              or T[code] - z where zero points are fractions; s the tensor scale
//   bound[r,n] = |s| (K + 2G + 8) * 2^-24 * sum over g of (|S| * sum |x t| + |S (8 - z)| * sum |x| + |B| * sum |x|)
//                + |bias| * 2^-23 + (2G + 2) * 2^-126
//
// The bound follows from the arithmetic contract; its last term is what flushing denormal results to zero may cost.
// Shares no code with packing and kernels, so that it finds mistakes that both make alike.
#pragma once

#include <cstdint>
#include <vector>

#include "tools/layer.h"

namespace zenwoq::tools {

// Results of all runs, one row after another.
struct RunRows {
  std::size_t rows = 0;
  std::vector<std::uint16_t> x;  // bf16 [rows, K]: zero or normal, of a magnitude that f32 can square
  std::vector<float> y;          // [rows, N]
};

class ExactProduct {
 public:
  ExactProduct(const Layer& layer, const RunRows& runs);

  // The largest |y - exact| / bound over the columns [n_begin, n_end); infinity if a y is not a number. An infinite y
  // counts only if no step towards it can have overflowed. Any number of threads may call this at once.
  double max_error_over_bound(std::size_t n_begin, std::size_t n_end) const;

 private:
  static constexpr std::size_t kLanes = 8;  // rows of x that are multiplied together
  struct Lanes {
    double lane[kLanes] = {};
  };
  struct Column;

  Column read_column(std::size_t n) const;
  void multiply_group(const Column& column, std::size_t block, std::size_t g, Lanes* exact, Lanes* magnitude) const;
  double block_error(const Column& column, std::size_t n, std::size_t block, const Lanes& exact,
                     const Lanes& magnitude) const;

  const Layer& layer_;
  const RunRows& runs_;
  std::size_t group_, groups_, blocks_;
  double table_[16];
  std::vector<Lanes> x_;        // [blocks, K]
  std::vector<Lanes> x_sums_;   // [blocks, G] sums of x
  std::vector<Lanes> x_sizes_;  // [blocks, G] sums of |x|
};

}  // namespace zenwoq::tools
