// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Codes, scales and zeros of [N,K] into panels.
//
// A panel is packed in blocks of 64 rows x 16 steps: each row's codes become steps by bit moves that the compiler
// vectorises along K, then the block is transposed so that the 64 columns of one step lie side by side.
#include <algorithm>
#include <cstring>

#include "weight/convert.h"
#include "weight/packed.h"

namespace zenwoq {
namespace {

constexpr std::size_t kBlockSteps = 16;
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

// Codes [k, k + count) of one row as nibbles, zero-padded to a whole block. False: a byte is outside its layout's range.
bool read_codes(zenwoq_code_layout layout, const std::uint8_t* row, std::size_t k, std::size_t count,
                std::uint8_t nibbles[kBlockK / 2]) {
  if (layout == ZENWOQ_CODES_NIBBLES) {
    std::memcpy(nibbles, row + k / 2, (count + 1) / 2);
    std::memset(nibbles + (count + 1) / 2, 0, kBlockK / 2 - (count + 1) / 2);
    if (count % 2 != 0) nibbles[count / 2] &= 0x0F;
    return true;
  }
  alignas(64) std::uint8_t bytes[kBlockK];
  std::memcpy(bytes, row + k, count);
  std::memset(bytes + count, 0, kBlockK - count);
  const std::uint8_t bias = layout == ZENWOQ_CODES_S8 ? 8 : 0;  // -8..7 becomes 0..15
  std::uint8_t outside = 0;
  for (std::size_t i = 0; i < kBlockK; ++i) outside |= static_cast<std::uint8_t>(bytes[i] + bias) & 0xF0u;
  for (std::size_t i = 0; i < kBlockK / 2; ++i) {
    nibbles[i] = static_cast<std::uint8_t>((bytes[2 * i] & 0x0Fu) | (bytes[2 * i + 1] << 4));
  }
  return outside == 0;
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

Status pack_codes(const PackedHeader& header, const zenwoq_weight_source& source, std::size_t panel, std::uint8_t* packed) {
  const std::size_t row_bytes =
      source.codes_row_bytes != 0 ? source.codes_row_bytes : source_row_bytes(source.code_layout, header.k);
  const auto* codes = static_cast<const std::uint8_t*>(source.codes);
  const std::size_t columns = std::min<std::size_t>(kPanelColumns, header.n - panel * kPanelColumns);
  std::uint8_t* out = packed + header.codes_offset + panel * header.steps() * kStepBytes;
  Block block{};  // columns past N keep code 0
  for (std::size_t step = 0; step < header.steps(); step += kBlockSteps) {
    const std::size_t k = step * kStepK;
    const std::size_t count = std::min<std::size_t>(kBlockK, header.k - k);
    const std::size_t block_steps = std::min(kBlockSteps, header.steps() - step);
    for (std::size_t c = 0; c < columns; ++c) {
      const std::size_t n = panel * kPanelColumns + c;
      const std::uint8_t* row = codes + n * row_bytes;
      alignas(64) std::uint32_t source_steps[kBlockSteps];
      if (!read_codes(source.code_layout, row, k, count, reinterpret_cast<std::uint8_t*>(source_steps))) {
        return code_out_of_range(source, row, n, header.k);
      }
      for (std::size_t s = 0; s < kBlockSteps; ++s) block.steps[c][s] = split_even_odd(source_steps[s]);
    }
    for (std::size_t s = 0; s < block_steps; ++s) {
      alignas(64) std::uint32_t lanes[kPanelColumns];
      for (std::size_t c = 0; c < kPanelColumns; ++c) lanes[c] = block.steps[c][s];
      std::memcpy(out + (step + s) * kStepBytes, lanes, kStepBytes);
    }
  }
  return {};
}

// Scales or offsets [N,G] -> [panel][G][64].
Status pack_floats(const PackedHeader& header, const char* what, const void* values, std::size_t panel, std::uint8_t* out) {
  const std::size_t size = header.scale_bytes();
  for (std::size_t c = 0; c < kPanelColumns; ++c) {
    const std::size_t n = panel * kPanelColumns + c;
    for (std::size_t g = 0; g < header.groups(); ++g) {
      std::uint8_t* to = out + (g * kPanelColumns + c) * size;
      if (n >= header.n) {
        std::memset(to, 0, size);
        continue;
      }
      const std::size_t index = n * header.groups() + g;
      const float value = load_as_f32(header.scale(), values, index);
      if (!is_finite(value)) return invalid("{} {} at row {}, group {}: must be finite", what, value, n, g);
      std::memcpy(to, static_cast<const std::uint8_t*>(values) + index * size, size);
    }
  }
  return {};
}

Status pack_integer_zeros(const PackedHeader& header, const std::int8_t* zeros, std::size_t panel, std::uint8_t* out) {
  for (std::size_t c = 0; c < kPanelColumns; ++c) {
    const std::size_t n = panel * kPanelColumns + c;
    for (std::size_t g = 0; g < header.groups(); ++g) {
      const int zero = n < header.n ? zeros[n * header.groups() + g] : 8;
      if (zero < 0 || zero > 16) return invalid("zero {} at row {}, group {}: must be in 0..16", zero, n, g);
      out[g * kPanelColumns + c] = static_cast<std::uint8_t>(8 - zero);
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
  const PackedView view{header, packed};
  for (std::size_t panel = n_begin / kPanelColumns; panel * kPanelColumns < n_end; ++panel) {
    if (Status status = pack_codes(header, source, panel, packed); !status.ok()) return status;
    std::uint8_t* scales = packed + (view.scales(panel) - packed);
    if (Status status = pack_floats(header, "scale", source.scales, panel, scales); !status.ok()) return status;
    std::uint8_t* zeros = packed + (view.zeros(panel) - packed);
    Status status;
    if (header.zero() == ZENWOQ_ZERO_INTEGER) {
      status = pack_integer_zeros(header, static_cast<const std::int8_t*>(source.zeros), panel, zeros);
    } else if (header.zero() == ZENWOQ_ZERO_OFFSET) {
      status = pack_floats(header, "offset", source.zeros, panel, zeros);
    }
    if (!status.ok()) return status;
  }
  if (n_begin == 0) std::memcpy(packed, &header, sizeof header);
  if (n_end == header.n) std::memset(packed + header.total_bytes - kSpareBytes, 0, kSpareBytes);
  return {};
}

}  // namespace zenwoq
