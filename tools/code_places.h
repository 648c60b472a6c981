// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Where each layout has the code of row n and column k, from the formulas of its framework, code by code. For checks:
// shares nothing with packing.
#pragma once

#include <algorithm>
#include <cstddef>

#include "zenwoq/zenwoq.h"

namespace zenwoq::tools {

// A byte, and whether its high four bits.
struct CodePlace {
  std::size_t byte;
  bool high;
};

// Of a [rows, columns] matrix whose rows (of codes or of words) are `stride` bytes apart. Layouts of a byte a code have
// no such place.
inline CodePlace code_place(zenwoq_code_layout layout, std::size_t n, std::size_t k, std::size_t rows,
                            std::size_t columns, std::size_t stride) {
  constexpr std::size_t kAwqNibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  const auto in_word = [](std::size_t byte, std::size_t nibble) {
    return CodePlace{byte + nibble / 2, nibble % 2 != 0};
  };
  // Blocks of `bytes` with `codes` codes from `at` on; byte i has the codes i and i + half of every 2 * half.
  const auto in_block = [&](std::size_t codes, std::size_t bytes, std::size_t at, std::size_t half) {
    const std::size_t i = k % codes;
    return CodePlace{n * stride + k / codes * bytes + at + i / (2 * half) * half + i % half, i % (2 * half) >= half};
  };
  const auto aten = [&](std::size_t block) {
    const std::size_t first = n / block * block, r = n - first, size = std::min(block, rows - first);
    const std::size_t run = first * columns / 2 + k * (size / 2);
    return size == block ? CodePlace{run + r % (block / 2), r >= block / 2} : CodePlace{run + r / 2, r % 2 != 0};
  };
  switch (layout) {
    case ZENWOQ_CODES_GGUF_Q4_0: return in_block(32, 18, 2, 16);
    case ZENWOQ_CODES_GGUF_Q4_1: return in_block(32, 20, 4, 16);
    case ZENWOQ_CODES_GGUF_MXFP4: return in_block(32, 17, 1, 16);
    case ZENWOQ_CODES_GGUF_Q4_K: return in_block(256, 144, 16, 32);
    case ZENWOQ_CODES_GGUF_IQ4_XS: return in_block(256, 136, 8, 16);
    case ZENWOQ_CODES_NIBBLES_HIGH: return {n * stride + k / 2, k % 2 == 0};
    case ZENWOQ_CODES_GPTQ: return in_word(k / 8 * stride + n * 4, k % 8);
    case ZENWOQ_CODES_AWQ: return in_word(k * stride + n / 8 * 4, kAwqNibble[n % 8]);
    case ZENWOQ_CODES_AWQ_FAST: {
      const std::size_t o = k % 32, b = k % 64 / 32, i = o / 8, j = o % 8 / 2, l = o % 2;
      const std::size_t f = 64 * (n % 4) + 32 * b + 8 * j + 4 * l + i;  // of the codes of four rows and 64 k
      return in_word(n / 4 * stride + k / 64 * 128 + f / 4 * 2, f % 4);
    }
    case ZENWOQ_CODES_ATEN_64: return aten(64);
    case ZENWOQ_CODES_ATEN_32: return aten(32);
    default: return {n * stride + k / 2, k % 2 != 0};
  }
}

// Bytes from one row to the next where a source says 0.
inline std::size_t default_stride(zenwoq_code_layout layout, std::size_t rows, std::size_t columns) {
  switch (layout) {
    case ZENWOQ_CODES_U8:
    case ZENWOQ_CODES_S8: return columns;
    case ZENWOQ_CODES_GGUF_Q4_0: return columns / 32 * 18;
    case ZENWOQ_CODES_GGUF_Q4_1: return columns / 32 * 20;
    case ZENWOQ_CODES_GGUF_MXFP4: return columns / 32 * 17;
    case ZENWOQ_CODES_GGUF_Q4_K: return columns / 256 * 144;
    case ZENWOQ_CODES_GGUF_IQ4_XS: return columns / 256 * 136;
    case ZENWOQ_CODES_GPTQ: return rows * 4;
    case ZENWOQ_CODES_AWQ: return rows / 2;
    case ZENWOQ_CODES_AWQ_FAST: return columns * 2;
    default: return (columns + 1) / 2;
  }
}

}  // namespace zenwoq::tools
