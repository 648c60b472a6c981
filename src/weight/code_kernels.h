// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The inner loops of packing and unpacking: codes between rows of a matrix and the steps of a panel (panel_layout.h).
// One source file, compiled twice: for any x86-64 and for AVX2 with FMA. Both give the same bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "jit/panel_layout.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

inline constexpr std::size_t kBlockSteps = 16;
inline constexpr std::size_t kBlockK = kBlockSteps * kStepK;

// Codes of 64 columns x 128 k, one column per row. The 64 bytes of nibbles of a row are one cache line.
struct CodeBlock {
  zenwoq_code_layout layout;  // nibbles, either first, u8 or s8: others come as nibbles
  const std::uint8_t* rows;
  const std::uint8_t* next_rows;  // the block that is packed next: fetched meanwhile
  std::size_t row_bytes;          // from one row to the next, of both
};

// What the codes of one column and group mean.
struct GroupValues {
  const float* table;  // [16]
  zenwoq_zero_kind zero_kind;
  float scale;
  float added;  // 8 - zero, the negative of a zero point that is a fraction, or the offset
};

struct CodeKernels {
  // The block into count (<= 16) steps, with stores that go past the caches: other threads see them after a fence.
  // False: a byte is outside its layout's range; then the steps are unspecified.
  bool (*pack_block)(const CodeBlock& block, std::uint8_t* const* steps, std::size_t count);

  // `columns` (a multiple of 8) of 16 steps, from the column that steps point to on, into rows of 64 bytes of nibbles.
  void (*unpack_block)(const std::uint8_t* const* steps, std::size_t columns, std::uint8_t* rows,
                       std::size_t row_bytes);

  // `count` codes as f32 values, one rounding each; values of any alignment.
  void (*dequantize)(const std::uint8_t* nibbles, std::size_t count, const GroupValues& group, float* values);
};

extern const CodeKernels code_kernels_portable;
extern const CodeKernels code_kernels_avx2_fma;

// The fastest that this CPU runs. Asked of the compiler's runtime and not of src/cpu: weights are packed and read
// without a context, whose probe reads files and allocates, and these loops need less than the tier of AVX2 does.
inline const CodeKernels& code_kernels() {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return avx2 ? code_kernels_avx2_fma : code_kernels_portable;
}

}  // namespace zenwoq
