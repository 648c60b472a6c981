// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What a kernel is given: one block of rows times consecutive columns. Generated code and the reference read the same
// struct.
#pragma once

#include <cstddef>
#include <cstdint>

#include "jit/decode_table.h"

namespace zenwoq {

// Rows that a kernel with scratch takes in one call: their totals are on its stack.
inline constexpr std::uint32_t kMaxScratchRows = 96;

// All pointers may have any alignment, but table; panels of 64 bytes are the fastest.
struct GemmArgs {
  // [rows, K], row r at x + r * ldx_bytes: bf16, or for tiers whose TierInfo::x_type is f32 the same values in f32,
  // each row completed with +0 to a multiple of 8.
  const void* x;
  std::uint64_t ldx_bytes;
  const std::uint8_t* panels;  // the first of consecutive panels (jit/panel_layout.h)
  const float* xsum;           // [G, rows] sums of x over each group; read if the weight has zeros
  std::uint64_t xsum_bytes;    // from one group's sums to the next
  const float* bias;           // [columns, rounded up to a panel]; read if the key has a bias
  void* y;                     // [rows, columns] of the output type
  std::uint64_t ldy_bytes;
  std::uint64_t columns;  // valid columns, from the first column of a panel
  const DecodeTable* table;
  // Rows of kernels with scratch, at most kMaxScratchRows: tiles of as many rows as the key's tile has, then tiles of
  // one row less.
  std::uint64_t tall_tiles = 0, low_tiles = 0;
  float tensor_scale = 1.0f;  // read if the key has one
  float up_tensor_scale = 1.0f;
  // Read if the tile is gated: the same columns of the second weight.
  const std::uint8_t* up_panels = nullptr;
  const float* up_bias = nullptr;
  // Read if the key has them: [rows, columns] of the output type.
  const void* factor = nullptr;
  std::uint64_t factor_bytes = 0;  // from one row to the next
  const void* residual[2] = {};
  std::uint64_t residual_bytes[2] = {};
};

using GemmFunction = void (*)(const GemmArgs*);

}  // namespace zenwoq
