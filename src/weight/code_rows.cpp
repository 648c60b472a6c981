// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Layouts of codes: where each has the codes of a row. Sources: ggml-common.h (GGUF), AutoGPTQ's qlinear_cuda (GPTQ),
// AutoAWQ's packing_utils and gemv_fast (AWQ), ATen's int4mm_kernel.cpp; each is compared with its framework's own code
// by the fixtures.
#include "src/weight/code_rows.h"

#include <emmintrin.h>

#include <algorithm>
#include <cstring>

namespace zenwoq {
namespace {

constexpr BlockFormat kBlockFormats[] = {
    {ZENWOQ_CODES_GGUF_Q4_0, "Q4_0", 32, 18, 16, 2, 0, 0, ZENWOQ_F16, ZENWOQ_ZERO_NONE, {}},
    {ZENWOQ_CODES_GGUF_Q4_1, "Q4_1", 32, 20, 16, 4, 0, 2, ZENWOQ_F16, ZENWOQ_ZERO_OFFSET, ZENWOQ_TABLE_UNSIGNED},
    {ZENWOQ_CODES_GGUF_MXFP4, "MXFP4", 32, 17, 16, 1, 0, 0, ZENWOQ_E8M0, ZENWOQ_ZERO_NONE, ZENWOQ_TABLE_E2M1},
    {ZENWOQ_CODES_GGUF_Q4_K, "Q4_K", 256, 144, 32, 16, 0, 2, ZENWOQ_U8_F16, ZENWOQ_ZERO_OFFSET, ZENWOQ_TABLE_UNSIGNED},
    {ZENWOQ_CODES_GGUF_IQ4_XS, "IQ4_XS", 256, 136, 16, 8, 0, 0, ZENWOQ_S8_F16, ZENWOQ_ZERO_NONE, ZENWOQ_TABLE_IQ4_NL},
};

constexpr std::size_t kWordCodes = 8;

// Nibble i of word k becomes nibble k of word i: halves, bytes and nibbles change places across the diagonal.
void transpose_nibbles(std::uint32_t (&w)[kWordCodes]) {
  const auto swap = [&](std::size_t distance, unsigned shift, std::uint32_t mask) {
    for (std::size_t i = 0; i < kWordCodes; ++i) {
      if ((i & distance) != 0) continue;
      const std::uint32_t swapped = ((w[i] >> shift) ^ w[i + distance]) & mask;
      w[i + distance] ^= swapped;
      w[i] ^= swapped << shift;
    }
  };
  swap(4, 16, 0x0000FFFFu);
  swap(2, 8, 0x00FF00FFu);
  swap(1, 4, 0x0F0F0F0Fu);
}

// 16 pairs of neighbouring codes, one a byte, from the low four bits of 32 bytes.
void store_pairs(__m128i codes_0_15, __m128i codes_16_31, std::uint8_t* nibbles) {
  const auto pairs = [](__m128i codes) {  // each 16 bits have two codes
    const __m128i low = _mm_and_si128(codes, _mm_set1_epi8(15));
    return _mm_and_si128(_mm_or_si128(low, _mm_srli_epi16(low, 4)), _mm_set1_epi16(255));
  };
  _mm_storeu_si128(reinterpret_cast<__m128i*>(nibbles), _mm_packus_epi16(pairs(codes_0_15), pairs(codes_16_31)));
}

__m128i load(const std::uint8_t* bytes) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)); }

// A byte has the codes i and i + half of every 2 * half; half is 16 or 32.
void copy_block_codes(const std::uint8_t* codes, std::size_t count, std::size_t half, std::uint8_t* nibbles) {
  for (std::size_t i = 0; i < count; i += 2 * half, codes += half, nibbles += half) {
    const __m128i low = load(codes);
    if (half == 16) {
      store_pairs(low, _mm_srli_epi16(low, 4), nibbles);
      continue;
    }
    const __m128i high = load(codes + 16);
    store_pairs(low, high, nibbles);
    store_pairs(_mm_srli_epi16(low, 4), _mm_srli_epi16(high, 4), nibbles + 16);
  }
}

std::size_t aten_block(zenwoq_code_layout layout) { return layout == ZENWOQ_CODES_ATEN_64 ? 64 : 32; }

}  // namespace

const BlockFormat* find_block_format(zenwoq_code_layout layout) {
  for (const BlockFormat& format : kBlockFormats) {
    if (format.layout == layout) return &format;
  }
  return nullptr;
}

CodeArray code_array(zenwoq_code_layout layout, std::size_t n, std::size_t k) {
  if (const BlockFormat* format = find_block_format(layout)) return {n, k / format->codes * format->bytes};
  switch (layout) {
    case ZENWOQ_CODES_U8:
    case ZENWOQ_CODES_S8: return {n, k};
    case ZENWOQ_CODES_GPTQ: return {(k + kWordCodes - 1) / kWordCodes, n * 4};
    case ZENWOQ_CODES_AWQ: return {k, n / 2};
    case ZENWOQ_CODES_AWQ_FAST: return {n / 4, k * 2};
    case ZENWOQ_CODES_ATEN_64:
    case ZENWOQ_CODES_ATEN_32: return {n / 2, k};
    default: return {n, (k + 1) / 2};
  }
}

std::string why_not_layout(zenwoq_code_layout layout, std::size_t n, std::size_t k) {
  const auto multiples = [&](std::size_t of_n, std::size_t of_k) -> std::string {
    if (n % of_n == 0 && k % of_k == 0) return {};
    return fmt::format("n = {}, k = {}: this code_layout ({}) has n a multiple of {}, k of {}", n, k,
                       static_cast<int>(layout), of_n, of_k);
  };
  switch (layout) {
    case ZENWOQ_CODES_NIBBLES_HIGH: return multiples(1, 2);
    case ZENWOQ_CODES_AWQ: return multiples(8, 1);
    case ZENWOQ_CODES_AWQ_FAST: return multiples(4, 64);
    case ZENWOQ_CODES_ATEN_64:
    case ZENWOQ_CODES_ATEN_32: return multiples(16, 1);
    default: return {};
  }
}

bool can_be_permuted(zenwoq_code_layout layout) {
  return layout == ZENWOQ_CODES_NIBBLES || layout == ZENWOQ_CODES_U8 || layout == ZENWOQ_CODES_S8 ||
         layout == ZENWOQ_CODES_GPTQ;
}

CodeRows::CodeRows(const Quantization& q, const zenwoq_weight_source& source, std::size_t panel)
    : layout(source.code_layout),
      n(q.n),
      k(q.k),
      row_bytes(source.codes_row_bytes != 0 ? source.codes_row_bytes : code_array(layout, n, k).row_bytes),
      first(panel * kPanelColumns),
      columns(std::min<std::size_t>(kPanelColumns, n - first)),
      codes(static_cast<const std::uint8_t*>(source.codes)),
      permutation(q.permuted ? source.permutation : nullptr),
      in_place(layout == ZENWOQ_CODES_NIBBLES || layout == ZENWOQ_CODES_NIBBLES_HIGH || layout == ZENWOQ_CODES_U8 ||
               layout == ZENWOQ_CODES_S8) {}

CodeBlock CodeRows::block(std::size_t from) const {
  const auto bytes = [this](std::size_t count) { return code_array(layout, 1, count).row_bytes; };
  const std::uint8_t* rows = row(0) + bytes(from);
  const bool another_panel = n - first >= 2 * kPanelColumns;
  const std::uint8_t* next = from + kBlockK < k ? rows + bytes(kBlockK) : another_panel ? row(kPanelColumns) : rows;
  return {layout, rows, next, row_bytes};
}

CodeBlock CopiedRows::copy(const CodeRows& source, std::size_t k, std::size_t count) {
  std::memset(rows_, 0, sizeof rows_);
  zenwoq_code_layout layout = ZENWOQ_CODES_NIBBLES;
  if (source.permutation != nullptr) {
    copy_permuted(source, k, count);
    if (source.in_place) layout = source.layout;
  } else if (source.in_place) {
    copy_rows(source, k, count);
    layout = source.layout;
  } else if (find_block_format(source.layout) != nullptr) {
    copy_blocks(source, k, count);
  } else if (source.layout == ZENWOQ_CODES_GPTQ) {
    copy_gptq(source, k, count);
  } else if (source.layout == ZENWOQ_CODES_AWQ) {
    copy_awq(source, k, count);
  } else if (source.layout == ZENWOQ_CODES_AWQ_FAST) {
    copy_awq_fast(source, k, count);
  } else {
    copy_aten(source, k, count);
  }
  return {layout, rows_[0], rows_[0], sizeof rows_[0]};
}

void CopiedRows::copy_rows(const CodeRows& source, std::size_t k, std::size_t count) {
  const std::size_t bytes = code_array(source.layout, 1, count).row_bytes;
  const std::size_t at = code_array(source.layout, 1, k).row_bytes;
  for (std::size_t c = 0; c < source.columns; ++c) {
    std::memcpy(rows_[c], source.row(c) + at, bytes);
    // The nibble after the last code of a row may be anything.
    if (source.layout == ZENWOQ_CODES_NIBBLES && count % 2 != 0) rows_[c][bytes - 1] &= 0x0F;
  }
}

void CopiedRows::copy_blocks(const CodeRows& source, std::size_t k, std::size_t count) {
  const BlockFormat& format = *find_block_format(source.layout);
  for (std::size_t c = 0; c < source.columns; ++c) {
    for (std::size_t done = 0; done < count;) {
      const std::size_t in_block = (k + done) % format.codes;
      const std::size_t part = std::min(count - done, format.codes - in_block);
      const std::uint8_t* block = source.row(c) + (k + done) / format.codes * format.bytes;
      copy_block_codes(block + format.codes_at + in_block / 2, part, format.half, rows_[c] + done / 2);
      done += part;
    }
  }
}

void CopiedRows::copy_permuted(const CodeRows& source, std::size_t k, std::size_t count) {
  const std::uint32_t* columns = source.permutation + k;
  const auto gather_nibbles = [&](auto&& code) {  // code(c, column): in the low four bits
    for (std::size_t c = 0; c < source.columns; ++c) {
      for (std::size_t j = 0; j < count; ++j) {
        rows_[c][j / 2] = static_cast<std::uint8_t>(rows_[c][j / 2] | (code(c, columns[j]) & 15u) << (4 * (j % 2)));
      }
    }
  };
  switch (source.layout) {
    case ZENWOQ_CODES_NIBBLES:
      return gather_nibbles([&](std::size_t c, std::size_t at) { return source.row(c)[at / 2] >> (4 * (at % 2)); });
    case ZENWOQ_CODES_GPTQ:
      return gather_nibbles([&](std::size_t c, std::size_t at) -> unsigned {
        const std::uint8_t* word = source.codes + at / kWordCodes * source.row_bytes + (source.first + c) * 4;
        return word[at % kWordCodes / 2] >> (4 * (at % 2));
      });
    default:  // a byte a code
      for (std::size_t c = 0; c < source.columns; ++c) {
        for (std::size_t j = 0; j < count; ++j) rows_[c][j] = source.row(c)[columns[j]];
      }
  }
}

void CopiedRows::copy_gptq(const CodeRows& source, std::size_t k, std::size_t count) {
  for (std::size_t done = 0; done < count; done += kWordCodes) {
    const std::uint8_t* words = source.codes + (k + done) / kWordCodes * source.row_bytes + source.first * 4;
    const std::size_t left = count - done;
    const std::uint32_t mask = left < kWordCodes ? (1u << 4 * left) - 1 : ~0u;  // past the last code may be anything
    for (std::size_t c = 0; c < source.columns; ++c) {
      std::uint32_t word;
      std::memcpy(&word, words + c * 4, 4);
      word &= mask;
      std::memcpy(rows_[c] + done / 2, &word, 4);
    }
  }
}

void CopiedRows::copy_awq(const CodeRows& source, std::size_t k, std::size_t count) {
  constexpr std::size_t kNibbleOfRow[kWordCodes] = {0, 4, 1, 5, 2, 6, 3, 7};
  for (std::size_t done = 0; done < count; done += kWordCodes) {
    const std::size_t left = std::min(kWordCodes, count - done);
    for (std::size_t c = 0; c < source.columns; c += kWordCodes) {
      std::uint32_t words[kWordCodes] = {};  // one a k; eight rows each
      for (std::size_t i = 0; i < left; ++i) {
        std::memcpy(&words[i], source.codes + (k + done + i) * source.row_bytes + (source.first + c) / 2, 4);
      }
      transpose_nibbles(words);
      for (std::size_t row = 0; row < kWordCodes; ++row) {
        std::memcpy(rows_[c + row] + done / 2, &words[kNibbleOfRow[row]], 4);
      }
    }
  }
}

// Four rows share 64 words of 16 bits for 64 k; each has 16 of them, 8 for 32 k. Nibble i of word m is k = 8 i + m.
void CopiedRows::copy_awq_fast(const CodeRows& source, std::size_t k, std::size_t count) {
  for (std::size_t c = 0; c < source.columns; ++c) {
    const std::size_t row = source.first + c;
    for (std::size_t done = 0; done < count; done += 32) {
      const std::size_t at = k + done;
      const std::uint8_t* from = source.codes + row / 4 * source.row_bytes + at / 64 * 128 + row % 4 * 32 + at % 64 / 2;
      std::uint32_t words[kWordCodes] = {};
      for (std::size_t m = 0; m < kWordCodes; ++m) std::memcpy(&words[m], from + m * 2, 2);
      transpose_nibbles(words);
      std::memcpy(rows_[c] + done / 2, words, 16);
    }
  }
}

void CopiedRows::copy_aten(const CodeRows& source, std::size_t k, std::size_t count) {
  const std::size_t block = aten_block(source.layout);
  for (std::size_t c = 0; c < source.columns; c += block) {
    const std::size_t rows = std::min(block, source.n - source.first - c);  // of this block of ATen's
    const bool whole = rows == block;
    const std::size_t bytes = rows / 2;  // a k
    const std::uint8_t* from = source.codes + (source.first + c) * source.k / 2 + k * bytes;
    for (std::size_t done = 0; done < count; ++done, from += bytes) {
      for (std::size_t i = 0; i < bytes; ++i) {
        const std::size_t low = c + (whole ? i : 2 * i);
        const std::size_t high = c + (whole ? i + bytes : 2 * i + 1);
        const unsigned shift = 4 * (done % 2);
        rows_[low][done / 2] = static_cast<std::uint8_t>(rows_[low][done / 2] | (from[i] & 15u) << shift);
        rows_[high][done / 2] = static_cast<std::uint8_t>(rows_[high][done / 2] | (from[i] >> 4) << shift);
      }
    }
  }
}

}  // namespace zenwoq
