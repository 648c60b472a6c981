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

// Four matrices side by side: nibble i of word k becomes nibble k of word i; halves, bytes and nibbles change places
// across the diagonal.
void transpose_nibbles(__m128i (&w)[kWordCodes]) {
  const auto swap = [&](std::size_t distance, int shift, std::uint32_t mask) {
    for (std::size_t i = 0; i < kWordCodes; ++i) {
      if ((i & distance) != 0) continue;
      const __m128i changed = _mm_xor_si128(_mm_srli_epi32(w[i], shift), w[i + distance]);
      const __m128i swapped = _mm_and_si128(changed, _mm_set1_epi32(static_cast<int>(mask)));
      w[i + distance] = _mm_xor_si128(w[i + distance], swapped);
      w[i] = _mm_xor_si128(w[i], _mm_slli_epi32(swapped, shift));
    }
  };
  swap(4, 16, 0x0000FFFFu);
  swap(2, 8, 0x00FF00FFu);
  swap(1, 4, 0x0F0F0F0Fu);
}

// Byte i of row j becomes byte j of row i: four times the first half of the rows is shuffled into the second.
void transpose_bytes(__m128i (&rows)[16]) {
  for (int step = 0; step < 4; ++step) {
    __m128i shuffled[16];
    for (std::size_t i = 0; i < 8; ++i) {
      shuffled[2 * i] = _mm_unpacklo_epi8(rows[i], rows[i + 8]);
      shuffled[2 * i + 1] = _mm_unpackhi_epi8(rows[i], rows[i + 8]);
    }
    std::copy_n(shuffled, 16, rows);
  }
}

__m128i load(const std::uint8_t* bytes) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)); }

// The first of them; zeros for the rest.
__m128i load(const std::uint8_t* bytes, std::size_t count) {
  if (count >= 16) return load(bytes);
  alignas(16) std::uint8_t some[16] = {};
  std::memcpy(some, bytes, count);
  return load(some);
}

void store(__m128i bytes, std::uint8_t* to) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes); }

// 16 pairs of neighbouring codes, one a byte, from the low four bits of 32 bytes.
void store_pairs(__m128i codes_0_15, __m128i codes_16_31, std::uint8_t* nibbles) {
  const auto pairs = [](__m128i codes) {  // each 16 bits have two codes
    const __m128i low = _mm_and_si128(codes, _mm_set1_epi8(15));
    return _mm_and_si128(_mm_or_si128(low, _mm_srli_epi16(low, 4)), _mm_set1_epi16(255));
  };
  store(_mm_packus_epi16(pairs(codes_0_15), pairs(codes_16_31)), nibbles);
}

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
    return formatted("n = {}, k = {}: this code_layout ({}) has n a multiple of {}, k of {}", n, k,
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

// Which codes of a row make a byte of a permuted one. Each of the four ways in which two codes lie in their bytes has a
// loop without a branch.
class PairsOfCodes {
 public:
  PairsOfCodes(const std::uint32_t* columns, std::size_t count) {
    for (std::size_t j = 0; j < count; j += 2) {
      const std::uint32_t low = columns[j], high = j + 1 < count ? columns[j + 1] : low;
      const std::size_t way = low % 2 + 2 * (high % 2);
      pairs_[way][counts_[way]++] = {low / 2, high / 2, static_cast<std::uint32_t>(j / 2)};
    }
  }

  void copy(const std::uint8_t* from, std::uint8_t* to) const {
    copy(0, from, to, [](unsigned low, unsigned high) { return (low & 15u) | high << 4; });
    copy(1, from, to, [](unsigned low, unsigned high) { return low >> 4 | high << 4; });
    copy(2, from, to, [](unsigned low, unsigned high) { return (low & 15u) | (high & 0xF0u); });
    copy(3, from, to, [](unsigned low, unsigned high) { return low >> 4 | (high & 0xF0u); });
  }

 private:
  template <typename Join>
  void copy(std::size_t way, const std::uint8_t* from, std::uint8_t* to, Join join) const {
    for (std::size_t i = 0; i < counts_[way]; ++i) {
      const Pair& pair = pairs_[way][i];
      to[pair.to] = static_cast<std::uint8_t>(join(from[pair.low], from[pair.high]));
    }
  }

  struct Pair {
    std::uint32_t low, high, to;  // bytes of both rows
  };
  Pair pairs_[4][kBlockK / 2];
  std::size_t counts_[4] = {};
};

void CopiedRows::copy_permuted(const CodeRows& source, std::size_t k, std::size_t count) {
  const std::uint32_t* columns = source.permutation + k;
  if (source.layout == ZENWOQ_CODES_GPTQ) return copy_permuted_gptq(source, columns, count);
  if (source.layout == ZENWOQ_CODES_NIBBLES) {
    const PairsOfCodes pairs(columns, count);
    for (std::size_t c = 0; c < source.columns; ++c) {
      pairs.copy(source.row(c), rows_[c]);
      if (count % 2 != 0) rows_[c][count / 2] &= 15;  // a code that stands alone
    }
    return;
  }
  for (std::size_t c = 0; c < source.columns; ++c) {  // a byte a code
    for (std::size_t j = 0; j < count; ++j) rows_[c][j] = source.row(c)[columns[j]];
  }
}

// A row of words has one k of all columns in the same nibble. Each is read as a whole: it may come from far away.
void CopiedRows::copy_permuted_gptq(const CodeRows& source, const std::uint32_t* columns, std::size_t count) {
  alignas(64) std::uint8_t codes[kBlockK][kPanelColumns];  // one a byte, in the low four bits
  std::memset(codes[0], 0, sizeof codes);
  for (std::size_t j = 0; j < count; ++j) {
    const std::uint8_t* words = source.codes + columns[j] / kWordCodes * source.row_bytes + source.first * 4;
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(4 * (columns[j] % kWordCodes)));
    for (std::size_t c = 0; c < source.columns; c += 16) {
      __m128i part[4];
      for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t from = std::min(c + 4 * i, source.columns);
        const __m128i four = load(words + from * 4, (source.columns - from) * 4);
        part[i] = _mm_and_si128(_mm_srl_epi32(four, shift), _mm_set1_epi32(15));
      }
      store(_mm_packus_epi16(_mm_packs_epi32(part[0], part[1]), _mm_packs_epi32(part[2], part[3])), codes[j] + c);
    }
  }
  for (std::size_t c = 0; c < source.columns; c += 16) {
    for (std::size_t done = 0; done < count; done += 32) {
      __m128i pairs[16];  // of k: a byte for each column
      for (std::size_t i = 0; i < 16; ++i) {
        const std::uint8_t* even = codes[done + 2 * i] + c;
        pairs[i] = _mm_or_si128(load(even), _mm_slli_epi16(load(even + kPanelColumns), 4));
      }
      transpose_bytes(pairs);
      for (std::size_t i = 0; i < 16; ++i) store(pairs[i], rows_[c + i] + done / 2);
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

// 32 columns and 32 k at a time: a row of words has one k of them.
void CopiedRows::copy_awq(const CodeRows& source, std::size_t k, std::size_t count) {
  constexpr std::size_t kNibbleOfRow[kWordCodes] = {0, 4, 1, 5, 2, 6, 3, 7};
  constexpr std::size_t kWords = 4;
  for (std::size_t c = 0; c < source.columns; c += kWords * kWordCodes) {
    const std::uint8_t* from = source.codes + k * source.row_bytes + (source.first + c) / 2;
    const std::size_t bytes = (source.columns - c) / 2;  // at least, that may be read
    for (std::size_t done = 0; done < count; done += kWords * kWordCodes) {
      __m128i words[kWords][kWordCodes];  // [k / 8][k % 8], then [k / 8][nibble]
      for (std::size_t i = 0; i < kWords * kWordCodes; ++i) {
        words[i / kWordCodes][i % kWordCodes] =
            done + i < count ? load(from + (done + i) * source.row_bytes, bytes) : _mm_setzero_si128();
      }
      for (auto& eight : words) transpose_nibbles(eight);
      for (std::size_t row = 0; row < kWordCodes; ++row) {
        const std::size_t nibble = kNibbleOfRow[row];
        const __m128i low_01 = _mm_unpacklo_epi32(words[0][nibble], words[1][nibble]);
        const __m128i low_23 = _mm_unpacklo_epi32(words[2][nibble], words[3][nibble]);
        const __m128i high_01 = _mm_unpackhi_epi32(words[0][nibble], words[1][nibble]);
        const __m128i high_23 = _mm_unpackhi_epi32(words[2][nibble], words[3][nibble]);
        const auto put = [&](std::size_t word, __m128i codes) {
          store(codes, rows_[c + word * kWordCodes + row] + done / 2);
        };
        put(0, _mm_unpacklo_epi64(low_01, low_23));
        put(1, _mm_unpackhi_epi64(low_01, low_23));
        put(2, _mm_unpacklo_epi64(high_01, high_23));
        put(3, _mm_unpackhi_epi64(high_01, high_23));
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
      const __m128i words =
          load(source.codes + row / 4 * source.row_bytes + at / 64 * 128 + row % 4 * 32 + at % 64 / 2);
      const auto pairs = [&](int nibble) {  // k = 8 * nibble + 0 to 7: two codes in each 32 bits
        const __m128i codes = _mm_and_si128(_mm_srli_epi16(words, 4 * nibble), _mm_set1_epi16(15));
        return _mm_and_si128(_mm_or_si128(codes, _mm_srli_epi32(codes, 12)), _mm_set1_epi32(255));
      };
      const __m128i low = _mm_packs_epi32(pairs(0), pairs(1)), high = _mm_packs_epi32(pairs(2), pairs(3));
      store(_mm_packus_epi16(low, high), rows_[c] + done / 2);
    }
  }
}

// 32 k of 16 bytes at a time.
void CopiedRows::copy_aten(const CodeRows& source, std::size_t k, std::size_t count) {
  const std::size_t block = aten_block(source.layout);
  const __m128i low_halves = _mm_set1_epi8(15);
  for (std::size_t c = 0; c < source.columns; c += block) {
    const std::size_t rows = std::min(block, source.n - source.first - c);  // of this block of ATen's
    const std::size_t bytes = rows / 2;                                     // a k
    const std::size_t apart = rows == block ? bytes : 1;                    // the two rows of a byte ...
    const std::size_t step = rows == block ? 1 : 2;                         // ... and those of two bytes
    const std::uint8_t* from = source.codes + (source.first + c) * source.k / 2 + k * bytes;
    for (std::size_t done = 0; done < count; done += 32) {
      for (std::size_t byte = 0; byte < bytes; byte += 16) {
        const auto at = [&](std::size_t i) {
          return done + i < count ? load(from + (done + i) * bytes + byte, bytes - byte) : _mm_setzero_si128();
        };
        __m128i low[16], high[16];  // a byte for each row
        for (std::size_t i = 0; i < 16; ++i) {
          const __m128i even = at(2 * i), odd = at(2 * i + 1);
          low[i] = _mm_or_si128(_mm_and_si128(even, low_halves), _mm_slli_epi16(_mm_and_si128(odd, low_halves), 4));
          high[i] = _mm_or_si128(_mm_and_si128(_mm_srli_epi16(even, 4), low_halves), _mm_andnot_si128(low_halves, odd));
        }
        transpose_bytes(low);
        transpose_bytes(high);
        for (std::size_t i = 0; i < std::min<std::size_t>(16, bytes - byte); ++i) {
          store(low[i], rows_[c + (byte + i) * step] + done / 2);
          store(high[i], rows_[c + (byte + i) * step + apart] + done / 2);
        }
      }
    }
  }
}

}  // namespace zenwoq
