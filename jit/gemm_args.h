// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What a kernel is given: one block of rows times consecutive columns. Generated code and the reference read the same
// struct.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zenwoq {

// All pointers may have any alignment but panels and bias, which are the library's own (64 bytes).
struct GemmArgs {
  const void* x;  // bf16 [rows, K], row r at x + r * ldx_bytes
  std::uint64_t ldx_bytes;
  const std::uint8_t* panels;  // the first of consecutive panels (jit/panel_layout.h)
  const float* xsum;           // [G, rows] sums of x over each group; read if the weight has zeros
  std::uint64_t xsum_bytes;    // from one group's sums to the next
  const float* bias;           // [columns, rounded up to a panel]; read if the key has a bias
  void* y;                     // [rows, columns] of the output type
  std::uint64_t ldy_bytes;
  std::uint64_t columns;       // valid columns, from the first column of a panel
  const std::uint16_t* table;  // 16 bf16: the values of the codes
};

using GemmFunction = void (*)(const GemmArgs*);

}  // namespace zenwoq
