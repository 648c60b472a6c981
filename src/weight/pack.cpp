// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Codes, scales and zeros of [N,K] into panels.
//
// A panel is packed in blocks of 64 columns x 128 k (code_kernels.h), then its scales and zeros, 64 columns of a few
// groups at a time. What is packed is not read soon: it is stored past the caches, which then hold the source. Layouts
// that are no rows of codes become rows of nibbles on the way, a block at a time (code_rows.h).
#include <algorithm>
#include <cstring>

#include "jit/number.h"
#include "src/weight/code_kernels.h"
#include "src/weight/code_rows.h"
#include "src/weight/packed.h"
#include "src/weight/parameter_tile.h"

namespace zenwoq {
namespace {

// Scales or zeros, one a group, of some rows.
struct Parameters {
  const std::uint8_t* first;
  std::size_t row_bytes, group_bytes;

  const std::uint8_t* at(std::size_t row, std::size_t group) const {
    return first + row * row_bytes + group * group_bytes;
  }
};

// One panel and what is read for it.
struct PanelSource {
  PanelSource(const PackedHeader& h, const zenwoq_weight_source& s, std::size_t panel)
      : header(h),
        source(s),
        format(h.format()),
        block(find_block_format(s.code_layout)),
        codes(h, s, panel),
        scales(parameters(s.scales, h.groups(), format.scale_bytes(), block ? block->scales_at : 0)),
        zeros(parameters(s.zeros, h.groups(), format.zero_bytes(), block ? block->offsets_at : 0)),
        super_scales(parameters(s.super_scales, h.supers(), 2, 0)),
        super_offsets(parameters(s.super_offsets, h.supers(), 2, 2)) {}

  std::size_t first() const { return codes.first; }
  std::size_t columns() const { return codes.columns; }

  const PackedHeader& header;
  const zenwoq_weight_source& source;
  const ParameterFormat format;
  const BlockFormat* const block;  // NULL unless scales and codes are in blocks
  const CodeRows codes;
  const Parameters scales, zeros, super_scales, super_offsets;

 private:
  // Of an array [N,count] or [count,N], or at a place in each block.
  Parameters parameters(const void* array, std::size_t count, std::size_t bytes, std::size_t in_block) const {
    if (block != nullptr) return {codes.row(0) + in_block, codes.row_bytes, block->bytes};
    const std::size_t row = source.parameters_by_group ? bytes : count * bytes;
    const std::size_t group = source.parameters_by_group ? header.n * bytes : bytes;
    if (array == nullptr) return {nullptr, row, group};
    return {static_cast<const std::uint8_t*>(array) + codes.first * row, row, group};
  }
};

bool pack_codes(const CodeKernels& kernels, const PanelSource& source, std::uint8_t* out) {
  const PanelLayout layout = source.header.layout();
  CopiedRows copied;
  for (std::size_t first = 0; first < layout.steps(); first += kBlockSteps) {
    const std::size_t k = first * kStepK;
    const std::size_t block_k = std::min(kBlockK, source.header.k - k);
    const std::size_t block_steps = std::min(kBlockSteps, layout.steps() - first);
    std::uint8_t* steps[kBlockSteps];
    for (std::size_t i = 0; i < block_steps; ++i) steps[i] = out + layout.step(first + i);
    const CodeBlock block =
        source.codes.can_be_read(block_k) ? source.codes.block(k) : copied.copy(source.codes, k, block_k);
    if (!kernels.pack_block(block, steps, block_steps)) return false;
  }
  return true;
}

// Stores past the caches. from and to are 16-byte aligned.
template <std::size_t bytes>
void stream_row(const void* from, std::uint8_t* to) {
  for (std::size_t i = 0; i < bytes / 16; ++i) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to) + i, _mm_load_si128(static_cast<const __m128i*>(from) + i));
  }
}

// `count` rows of 64 values -> the panel, from `row(i)` on. read(first, many, tile) reads some; fix(row) converts a row
// in place and returns whether its values are legal.
template <typename Word, typename Read, typename Fix>
bool pack_rows_of_64(const PanelSource& source, std::size_t count, RowOffset row, const Read& read, const Fix& fix,
                     std::uint8_t* out) {
  constexpr std::size_t kCount = kTileGroups<Word>;
  GroupTile<Word> tile;
  const PanelLayout layout = source.header.layout();
  bool good = true;
  for (std::size_t first = 0; first < count; first += kCount) {
    const std::size_t many = std::min(kCount, count - first);
    if (source.columns() < kPanelColumns) std::memset(tile.rows, 0, sizeof tile.rows);
    read(first, many, &tile);
    for (std::size_t g = 0; g < many; ++g) {
      good &= fix(tile.rows[g]);
      stream_row<sizeof tile.rows[g]>(tile.rows[g], out + (layout.*row)(first + g));
    }
  }
  return good;
}

// The same, of values that lie in an array or at a place in each block.
template <typename Word, typename Fix>
bool pack_parameters(const PanelSource& source, const Parameters& values, std::size_t count, RowOffset row,
                     const Fix& fix, std::uint8_t* out) {
  // Read below in 64 places at once, which no hardware prefetcher follows.
  const bool rows_of_groups = source.block == nullptr && !source.source.parameters_by_group;
  const std::size_t bytes = source.columns() * count * sizeof(Word);
  for (std::size_t byte = 0; byte < bytes && rows_of_groups; byte += 64) __builtin_prefetch(values.first + byte, 0, 2);
  const auto read = [&](std::size_t first, std::size_t many, GroupTile<Word>* tile) {
    read_tile(values.at(0, first), values.row_bytes, values.group_bytes, source.columns(), many, tile);
  };
  return pack_rows_of_64<Word>(source, count, row, read, fix, out);
}

// fix for floats whose infinities and NaN have these bits set.
template <typename Word>
auto all_finite(Word exponent) {
  return [exponent](const Word(&row)[kPanelColumns]) {
    bool infinite = false;
    for (const Word bits : row) infinite |= (bits & exponent) == exponent;
    return !infinite;
  };
}

// Of any type but the bytes of two levels, 0 in columns past N. False: one is not finite.
bool pack_floats(const PanelSource& source, zenwoq_dtype type, const Parameters& values, RowOffset row,
                 std::uint8_t* out) {
  const std::size_t count = source.header.groups();
  const auto pack = [&]<typename Word>(Word not_finite) {
    return pack_parameters<Word>(source, values, count, row, all_finite(not_finite), out);
  };
  switch (type) {
    case ZENWOQ_F32: return pack(std::uint32_t{0x7F800000u});
    case ZENWOQ_F16: return pack(std::uint16_t{0x7C00u});
    case ZENWOQ_BF16: return pack(std::uint16_t{0x7F80u});
    case ZENWOQ_E8M0: return pack(std::uint8_t{0xFFu});
    case ZENWOQ_E4M3: return pack(std::uint8_t{0x7Fu});
    default: return false;
  }
}

// The six bits of scale (or of minimum, `upper`) of group `i` of a Q4_K block.
std::uint8_t q4_k_bits(const std::uint8_t* block, std::size_t i, bool upper) {
  const std::uint8_t* bits = block + 4;
  if (i < 4) return bits[upper ? i + 4 : i] & 63u;
  const unsigned low = upper ? bits[i + 4] >> 4 : bits[i + 4] & 15u;
  return static_cast<std::uint8_t>(low | (bits[upper ? i : i - 4] >> 6) << 4);
}

// Six bits less 32 of group `i` of an IQ4_XS block.
std::uint8_t iq4_xs_bits(const std::uint8_t* block, std::size_t i) {
  const unsigned low = block[4 + i / 2] >> (4 * (i % 2)) & 15u;
  const unsigned high = block[2 + i / 4] >> (2 * (i % 4)) & 3u;
  return static_cast<std::uint8_t>((low | high << 4) - 32);
}

// The bytes of scales (or offsets) with two levels.
bool pack_bytes(const PanelSource& source, bool offsets, std::uint8_t* out) {
  const RowOffset row = offsets ? &PanelLayout::zeros : &PanelLayout::scales;
  const std::size_t count = source.header.groups();
  const auto any = [](const std::uint8_t(&)[kPanelColumns]) { return true; };
  if (source.block == nullptr) {
    return pack_parameters<std::uint8_t>(source, offsets ? source.zeros : source.scales, count, row, any, out);
  }
  const bool q4_k = source.block->layout == ZENWOQ_CODES_GGUF_Q4_K;
  const auto read = [&](std::size_t first, std::size_t many, GroupTile<std::uint8_t>* tile) {
    for (std::size_t c = 0; c < source.columns(); ++c) {
      for (std::size_t g = 0; g < many; ++g) {
        const std::size_t i = (first + g) % PanelLayout::kSuperGroups;
        const std::uint8_t* block = source.codes.row(c) + (first + g) / PanelLayout::kSuperGroups * source.block->bytes;
        tile->rows[g][c] = q4_k ? q4_k_bits(block, i, offsets) : iq4_xs_bits(block, i);
      }
    }
  };
  return pack_rows_of_64<std::uint8_t>(source, count, row, read, any, out);
}

// The f16 of eight groups. What a block of GGUF subtracts is an offset of the other sign. False: one is not finite.
bool pack_supers(const PanelSource& source, bool offsets, std::uint8_t* out) {
  const Parameters& values = offsets ? source.super_offsets : source.super_scales;
  const RowOffset row = offsets ? &PanelLayout::super_offsets : &PanelLayout::super_scales;
  const std::uint16_t flip = offsets && source.block != nullptr ? 0x8000 : 0;
  const auto fix = [flip](std::uint16_t(&of_64)[kPanelColumns]) {
    for (std::uint16_t& bits : of_64) bits ^= flip;
    return all_finite<std::uint16_t>(0x7C00u)(of_64);
  };
  return pack_parameters<std::uint16_t>(source, values, source.header.supers(), row, fix, out);
}

// False: one is outside 0..16. Columns past N have a zero point of 8, which adds nothing.
bool pack_integer_zeros(const PanelSource& source, std::uint8_t* out) {
  const std::size_t columns = source.columns();
  const auto subtract = [columns](std::uint8_t(&row)[kPanelColumns]) {
    bool outside = false;
    for (std::uint8_t& zero : row) {
      outside |= zero > 16;
      zero = static_cast<std::uint8_t>(8 - zero);
    }
    for (std::size_t c = columns; c < kPanelColumns; ++c) row[c] = 0;
    return !outside;
  };
  return pack_parameters<std::uint8_t>(source, source.zeros, source.header.groups(), &PanelLayout::zeros, subtract,
                                       out);
}

bool pack_scales(const PanelSource& source, std::uint8_t* out) {
  if (source.format.has_two_levels()) return pack_bytes(source, false, out) && pack_supers(source, false, out);
  return pack_floats(source, source.format.scale_type, source.scales, &PanelLayout::scales, out);
}

bool pack_zeros(const PanelSource& source, std::uint8_t* out) {
  const ParameterFormat& format = source.format;
  if (!format.has_zeros()) return true;
  if (format.has_integer_zeros()) return pack_integer_zeros(source, out);
  if (format.has_offsets() && format.has_two_levels())
    return pack_bytes(source, true, out) && pack_supers(source, true, out);
  return pack_floats(source, format.float_type(), source.zeros, &PanelLayout::zeros, out);
}

// Permutation and factors of x, after the last panel.
void write_columns(const PackedHeader& header, const zenwoq_weight_source& source, std::uint8_t* packed) {
  std::memset(packed + header.permutation_at, 0, header.total_bytes - header.permutation_at);
  if (header.permuted) std::memcpy(packed + header.permutation_at, source.permutation, header.k * 4);
  if (header.x_scaled) std::memcpy(packed + header.x_scale_at, source.x_scale, header.k * 4);
}

Status code_error(const PanelSource& source) {
  const bool is_signed = source.codes.layout == ZENWOQ_CODES_S8;
  const bool has_bytes = is_signed || source.codes.layout == ZENWOQ_CODES_U8;  // of which not all are codes
  for (std::size_t c = 0; has_bytes && c < source.columns(); ++c) {
    for (std::size_t k = 0; k < source.header.k; ++k) {
      const std::uint8_t byte = source.codes.row(c)[k];
      const int value = is_signed ? static_cast<std::int8_t>(byte) : byte;
      if (is_signed ? value < -8 || value > 7 : value > 15) {
        return invalid("code {} at row {}, column {}: must be in {}", value, source.first() + c, k,
                       is_signed ? "-8..7" : "0..15");
      }
    }
  }
  return {};
}

Status float_error(const PanelSource& source, const char* what, zenwoq_dtype type, const Parameters& values,
                   std::size_t groups) {
  for (std::size_t i = 0; i < source.columns() * groups; ++i) {
    const float value = load_packable(type, values.at(i / groups, i % groups), 0);
    if (!is_finite(value)) {
      return invalid("{} {} at row {}, group {}: must be finite", what, value, source.first() + i / groups, i % groups);
    }
  }
  return {};
}

Status zero_error(const PanelSource& source) {
  const std::size_t groups = source.header.groups();
  for (std::size_t i = 0; i < source.columns() * groups; ++i) {
    const int zero = static_cast<std::int8_t>(*source.zeros.at(i / groups, i % groups));
    if (zero < 0 || zero > 16) {
      return invalid("zero {} at row {}, group {}: must be in 0..16", zero, source.first() + i / groups, i % groups);
    }
  }
  return {};
}

Status scale_error(const PanelSource& source) {
  if (!source.format.has_two_levels()) {
    return float_error(source, "scale", source.format.scale_type, source.scales, source.header.groups());
  }
  return float_error(source, "scale of eight groups", ZENWOQ_F16, source.super_scales, source.header.supers());
}

Status added_error(const PanelSource& source) {
  const ParameterFormat& format = source.format;
  if (!format.has_zeros()) return {};
  if (format.has_integer_zeros()) return zero_error(source);
  if (format.has_offsets() && format.has_two_levels()) {
    return float_error(source, "offset of eight groups", ZENWOQ_F16, source.super_offsets, source.header.supers());
  }
  const char* what = format.has_offsets() ? "offset" : "zero";
  return float_error(source, what, format.float_type(), source.zeros, source.header.groups());
}

}  // namespace

bool pack_panels(const PackedHeader& header, const zenwoq_weight_source& source, std::size_t begin, std::size_t end,
                 std::uint8_t* packed, const CodeKernels& kernels) {
  bool good = true;
  for (std::size_t i = begin; good && i < end; ++i) {
    const PanelSource panel(header, source, i);
    std::uint8_t* out = packed + kHeaderBytes + i * header.panel_bytes;
    good = pack_codes(kernels, panel, out) && pack_scales(panel, out) && pack_zeros(panel, out);
  }
  _mm_sfence();  // the streaming stores become visible to whoever learns that this range is done
  if (!good) return false;
  if (begin == 0) write_header(header, packed);
  if (end == header.panels()) write_columns(header, source, packed);
  return true;
}

Status source_error(const PackedHeader& header, const zenwoq_weight_source& source, std::size_t begin,
                    std::size_t end) {
  for (std::size_t i = begin; i < end; ++i) {
    const PanelSource panel(header, source, i);
    Status status = code_error(panel);
    if (status.ok()) status = scale_error(panel);
    if (status.ok()) status = added_error(panel);
    if (!status.ok()) return status;
  }
  return {ZENWOQ_ERROR_INTERNAL, "a value that cannot be packed was reported but not found"};
}

Status pack_rows(const PackedHeader& header, const zenwoq_weight_source& source, std::size_t n_begin, std::size_t n_end,
                 std::uint8_t* packed, const CodeKernels& kernels) {
  const std::size_t begin = n_begin / kPanelColumns, end = (n_end + kPanelColumns - 1) / kPanelColumns;
  return pack_panels(header, source, begin, end, packed, kernels) ? Status() : source_error(header, source, begin, end);
}

}  // namespace zenwoq
