// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Codes, scales and zeros of [N,K] into panels.
//
// A panel is packed in blocks of 64 rows x 32 steps: each row's codes become steps by bit moves that the compiler
// vectorises along K, then the block is transposed so that the 64 columns of one step lie side by side.
#include <emmintrin.h>

#include <algorithm>
#include <cstring>

#include "weight/convert.h"
#include "weight/packed.h"

namespace zenwoq {
namespace {

constexpr std::size_t kBlockSteps = 32;
constexpr std::size_t kBlockK = kBlockSteps * kStepK;

struct Block {
  alignas(64) std::uint32_t steps[kPanelColumns][kBlockSteps];  // before the transposition
};

// Even nibbles of eight codes (k = 0, 1, ... from the low end) into the low word, odd ones into the high word.
inline std::uint32_t split_even_odd(std::uint32_t v) {
  std::uint32_t even = v & 0x0F0F0F0Fu;
  std::uint32_t odd = (v >> 4) & 0x0F0F0F0Fu;
  even = (even | (even >> 4)) & 0x00FF00FFu;
  odd = (odd | (odd >> 4)) & 0x00FF00FFu;
  even = (even | (even >> 8)) & 0x0000FFFFu;
  odd = (odd | (odd >> 8)) & 0x0000FFFFu;
  return even | (odd << 16);
}

std::size_t source_row_bytes(zenwoq_code_layout layout, std::size_t k) {
  return layout == ZENWOQ_CODES_NIBBLES ? (k + 1) / 2 : k;
}

// A whole block of codes of one row as nibbles. False: a byte is outside its layout's range.
bool read_block(zenwoq_code_layout layout, const std::uint8_t* codes, std::uint8_t nibbles[kBlockK / 2]) {
  if (layout == ZENWOQ_CODES_NIBBLES) {
    std::memcpy(nibbles, codes, kBlockK / 2);
    return true;
  }
  const std::uint8_t bias = layout == ZENWOQ_CODES_S8 ? 8 : 0;  // -8..7 becomes 0..15
  std::uint8_t outside = 0;
  for (std::size_t i = 0; i < kBlockK; ++i) outside |= static_cast<std::uint8_t>(codes[i] + bias) & 0xF0u;
  for (std::size_t i = 0; i < kBlockK / 2; ++i) {
    std::uint16_t pair;
    std::memcpy(&pair, codes + 2 * i, 2);
    nibbles[i] = static_cast<std::uint8_t>((pair & 0x0Fu) | ((pair >> 4) & 0xF0u));
  }
  return outside == 0;
}

// The same for the last `count` codes of a row, completed with code 0.
bool read_partial_block(zenwoq_code_layout layout, const std::uint8_t* codes, std::size_t count, std::uint8_t nibbles[kBlockK / 2]) {
  std::uint8_t bytes[kBlockK] = {};
  const bool two_a_byte = layout == ZENWOQ_CODES_NIBBLES;
  std::memcpy(bytes, codes, two_a_byte ? (count + 1) / 2 : count);
  if (two_a_byte && count % 2 != 0) bytes[count / 2] &= 0x0F;
  return read_block(layout, bytes, nibbles);
}

Status code_out_of_range(const zenwoq_weight_source& source, const std::uint8_t* row, std::size_t n, std::size_t k_count) {
  const bool is_signed = source.code_layout == ZENWOQ_CODES_S8;
  for (std::size_t k = 0; k < k_count; ++k) {
    const int value = is_signed ? static_cast<std::int8_t>(row[k]) : row[k];
    if (is_signed ? value < -8 || value > 7 : value > 15) {
      return invalid("code {} at row {}, column {}: must be in {}", value, n, k, is_signed ? "-8..7" : "0..15");
    }
  }
  return {ZENWOQ_ERROR_INTERNAL, "a code out of range was reported but not found"};
}

// block.steps[column][step] -> steps `first` and following of a panel, four by four.
void write_block(const Block& block, const PanelLayout& layout, std::size_t first, std::size_t block_steps, std::uint8_t* panel) {
  for (std::size_t step = 0; step < block_steps; step += 4) {
    for (std::size_t column = 0; column < kPanelColumns; column += 4) {
      __m128i rows[4];
      for (std::size_t i = 0; i < 4; ++i) rows[i] = _mm_load_si128(reinterpret_cast<const __m128i*>(&block.steps[column + i][step]));
      const __m128i low01 = _mm_unpacklo_epi32(rows[0], rows[1]);
      const __m128i low23 = _mm_unpacklo_epi32(rows[2], rows[3]);
      const __m128i high01 = _mm_unpackhi_epi32(rows[0], rows[1]);
      const __m128i high23 = _mm_unpackhi_epi32(rows[2], rows[3]);
      const __m128i lanes[4] = {_mm_unpacklo_epi64(low01, low23), _mm_unpackhi_epi64(low01, low23),
                                _mm_unpacklo_epi64(high01, high23), _mm_unpackhi_epi64(high01, high23)};
      for (std::size_t i = 0; i < 4 && step + i < block_steps; ++i) {
        _mm_store_si128(reinterpret_cast<__m128i*>(panel + layout.step(first + step + i) + column * 4), lanes[i]);
      }
    }
  }
}

Status pack_codes(const PackedHeader& header, const zenwoq_weight_source& source, std::size_t panel, std::uint8_t* packed) {
  const std::size_t row_bytes =
      source.codes_row_bytes != 0 ? source.codes_row_bytes : source_row_bytes(source.code_layout, header.k);
  const auto* codes = static_cast<const std::uint8_t*>(source.codes);
  const std::size_t columns = std::min<std::size_t>(kPanelColumns, header.n - panel * kPanelColumns);
  std::uint8_t* out = packed + header.panels_offset + panel * header.panel_bytes;
  const PanelLayout layout = header.layout();
  Block block{};  // columns past N keep code 0
  for (std::size_t step = 0; step < layout.steps(); step += kBlockSteps) {
    const std::size_t k = step * kStepK;
    const std::size_t count = std::min<std::size_t>(kBlockK, header.k - k);
    const std::size_t block_steps = std::min(kBlockSteps, layout.steps() - step);
    for (std::size_t c = 0; c < columns; ++c) {
      const std::size_t n = panel * kPanelColumns + c;
      const std::uint8_t* row = codes + n * row_bytes;
      alignas(64) std::uint32_t source_steps[kBlockSteps];
      auto* nibbles = reinterpret_cast<std::uint8_t*>(source_steps);
      const std::uint8_t* from = row + source_row_bytes(source.code_layout, k);  // k is even
      const bool in_range = count == kBlockK ? read_block(source.code_layout, from, nibbles)
                                             : read_partial_block(source.code_layout, from, count, nibbles);
      if (!in_range) return code_out_of_range(source, row, n, header.k);
      for (std::size_t s = 0; s < kBlockSteps; ++s) block.steps[c][s] = split_even_odd(source_steps[s]);
    }
    write_block(block, layout, step, block_steps, out);
  }
  return {};
}

// Where a panel has the scales (or the zeros) of a group, from the panel's start.
using RowOffset = std::size_t (PanelLayout::*)(std::size_t group) const;

// One column of scales or offsets, whose bits are Words: [G] -> one element of each group's row. False: one is not finite.
template <typename Word>
bool pack_column(const std::uint8_t* values, const PanelLayout& layout, RowOffset row, std::size_t column, Word exponent,
                 std::uint8_t* panel) {
  bool finite = true;
  for (std::size_t g = 0; g < layout.groups(); ++g) {
    Word bits;
    std::memcpy(&bits, values + g * sizeof bits, sizeof bits);
    std::memcpy(panel + (layout.*row)(g) + column * sizeof bits, &bits, sizeof bits);
    finite &= (bits & exponent) != exponent;
  }
  return finite;
}

Status not_finite(const PackedHeader& header, const char* what, const std::uint8_t* values, std::size_t n) {
  for (std::size_t g = 0; g < header.groups(); ++g) {
    const float value = load_as_f32(header.scale(), values, g);
    if (!is_finite(value)) return invalid("{} {} at row {}, group {}: must be finite", what, value, n, g);
  }
  return {ZENWOQ_ERROR_INTERNAL, "a value that is not finite was reported but not found"};
}

// Scales or offsets [N,G] -> the rows of a panel, 0 in columns past N.
Status pack_floats(const PackedHeader& header, const char* what, const void* values, std::size_t panel, RowOffset row_offset,
                   std::uint8_t* out) {
  const PanelLayout layout = header.layout();
  const std::size_t groups = layout.groups();
  const std::size_t size = header.scale_bytes();
  const std::size_t columns = std::min<std::size_t>(kPanelColumns, header.n - panel * kPanelColumns);
  for (std::size_t g = 0; columns < kPanelColumns && g < groups; ++g) std::memset(out + (layout.*row_offset)(g), 0, kPanelColumns * size);
  for (std::size_t c = 0; c < columns; ++c) {
    const std::size_t n = panel * kPanelColumns + c;
    const std::uint8_t* row = static_cast<const std::uint8_t*>(values) + n * groups * size;
    const bool finite = header.scale() == ZENWOQ_F32 ? pack_column<std::uint32_t>(row, layout, row_offset, c, 0x7F800000u, out)
                                                     : pack_column<std::uint16_t>(row, layout, row_offset, c, header.scale() == ZENWOQ_F16 ? 0x7C00u : 0x7F80u, out);
    if (!finite) return not_finite(header, what, row, n);
  }
  return {};
}

Status pack_integer_zeros(const PackedHeader& header, const std::int8_t* zeros, std::size_t panel, std::uint8_t* out) {
  const PanelLayout layout = header.layout();
  for (std::size_t c = 0; c < kPanelColumns; ++c) {
    const std::size_t n = panel * kPanelColumns + c;
    for (std::size_t g = 0; g < header.groups(); ++g) {
      const int zero = n < header.n ? zeros[n * header.groups() + g] : 8;
      if (zero < 0 || zero > 16) return invalid("zero {} at row {}, group {}: must be in 0..16", zero, n, g);
      out[layout.zeros(g) + c] = static_cast<std::uint8_t>(8 - zero);
    }
  }
  return {};
}

}  // namespace

Status check_source(const PackedHeader& header, const zenwoq_weight_source& source) {
  if (static_cast<unsigned>(source.code_layout) > ZENWOQ_CODES_S8) {
    return invalid("code_layout {}: must be nibbles (0), u8 (1) or s8 (2)", static_cast<int>(source.code_layout));
  }
  const auto check_array = [](const char* name, const void* data, std::size_t bytes, std::size_t needed) -> Status {
    if (data == nullptr) return invalid("{} is NULL, {} bytes are needed", name, needed);
    if (bytes < needed) return {ZENWOQ_ERROR_BUFFER_TOO_SMALL, fmt::format("{}_bytes is {}, {} are needed", name, bytes, needed)};
    return {};
  };
  const std::size_t row = source_row_bytes(source.code_layout, header.k);
  const std::size_t stride = source.codes_row_bytes == 0 ? row : source.codes_row_bytes;
  if (stride < row) return invalid("codes_row_bytes is {}, a row of k = {} has {}", stride, header.k, row);
  std::size_t codes_needed = 0;
  if (__builtin_mul_overflow(stride, header.n - 1, &codes_needed) || __builtin_add_overflow(codes_needed, row, &codes_needed)) {
    return {ZENWOQ_ERROR_OVERFLOW, fmt::format("{} rows of codes_row_bytes {} overflow", header.n, stride)};
  }
  // n * groups * 4 cannot overflow: make_header has checked the larger packed size.
  const std::size_t parameters = header.n * header.groups();
  if (Status status = check_array("codes", source.codes, source.codes_bytes, codes_needed); !status.ok()) return status;
  if (Status status = check_array("scales", source.scales, source.scales_bytes, parameters * header.scale_bytes()); !status.ok()) {
    return status;
  }
  if (header.zero() == ZENWOQ_ZERO_NONE) {
    if (source.zeros != nullptr) return invalid("zeros given, but zero_kind is ZENWOQ_ZERO_NONE: they would be ignored");
    return {};
  }
  return check_array("zeros", source.zeros, source.zeros_bytes, parameters * header.zero_bytes());
}

Status pack_rows(const PackedHeader& header, const zenwoq_weight_source& source, std::size_t n_begin, std::size_t n_end,
                 std::uint8_t* packed) {
  for (std::size_t panel = n_begin / kPanelColumns; panel * kPanelColumns < n_end; ++panel) {
    if (Status status = pack_codes(header, source, panel, packed); !status.ok()) return status;
    std::uint8_t* out = packed + header.panels_offset + panel * header.panel_bytes;
    Status status = pack_floats(header, "scale", source.scales, panel, &PanelLayout::scales, out);
    if (status.ok() && header.zero() == ZENWOQ_ZERO_INTEGER) {
      status = pack_integer_zeros(header, static_cast<const std::int8_t*>(source.zeros), panel, out);
    } else if (status.ok() && header.zero() == ZENWOQ_ZERO_OFFSET) {
      status = pack_floats(header, "offset", source.zeros, panel, &PanelLayout::zeros, out);
    }
    if (!status.ok()) return status;
  }
  if (n_begin == 0) std::memcpy(packed, &header, sizeof header);
  if (n_end == header.n) std::memset(packed + header.total_bytes - kSpareBytes, 0, kSpareBytes);
  return {};
}

}  // namespace zenwoq
