// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Codes, scales and zeros of [N,K] into panels.
//
// A panel is packed in blocks of 64 columns x 128 k (code_kernels.h), then its scales and zeros, 64 columns of a few
// groups at a time. What is packed is not read soon: it is stored past the caches, which then hold the source. Blocks
// of GGUF become rows of nibbles on the way, a block of 64 columns at a time.
#include <algorithm>
#include <cstring>

#include "jit/number.h"
#include "src/weight/code_kernels.h"
#include "src/weight/packed.h"
#include "src/weight/parameter_tile.h"

namespace zenwoq {
namespace {

// Blocks of GGUF, each a group: scale, offset if there are offsets, 16 bytes of codes. Byte i has the codes i and i
// + 16.
constexpr std::size_t kBlockCodes = 32, kBlockCodeBytes = 16;

bool is_blocks(zenwoq_code_layout layout) {
  return layout == ZENWOQ_CODES_GGUF_Q4_0 || layout == ZENWOQ_CODES_GGUF_Q4_1;
}

std::size_t block_codes_at(zenwoq_code_layout layout) { return layout == ZENWOQ_CODES_GGUF_Q4_0 ? 2 : 4; }

std::size_t source_row_bytes(zenwoq_code_layout layout, std::size_t k) {
  if (is_blocks(layout)) return k / kBlockCodes * (block_codes_at(layout) + kBlockCodeBytes);
  return layout == ZENWOQ_CODES_NIBBLES ? (k + 1) / 2 : k;
}

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
  PanelSource(const PackedHeader& h, const zenwoq_weight_source& source, std::size_t panel)
      : header(h),
        layout(source.code_layout),
        row_bytes(source.codes_row_bytes != 0 ? source.codes_row_bytes : source_row_bytes(layout, h.k)),
        first(panel * kPanelColumns),
        columns(std::min(kPanelColumns, h.n - first)),
        codes(static_cast<const std::uint8_t*>(source.codes) + first * row_bytes),
        scales(parameters(source.scales, h.scale_bytes(), 0)),
        zeros(parameters(source.zeros, h.zero_bytes(), h.scale_bytes())) {}

  const PackedHeader& header;
  const zenwoq_code_layout layout;
  const std::size_t row_bytes;
  const std::size_t first, columns;  // rows of the matrix
  const std::uint8_t* const codes;
  const Parameters scales, zeros;

 private:
  // Of an array [N,G], or at a place in each block.
  Parameters parameters(const void* array, std::size_t value_bytes, std::size_t in_block) const {
    if (is_blocks(layout)) return {codes + in_block, row_bytes, source_row_bytes(layout, kBlockCodes)};
    const std::size_t array_row_bytes = header.groups() * value_bytes;
    return {static_cast<const std::uint8_t*>(array) + first * array_row_bytes, array_row_bytes, value_bytes};
  }
};

// The codes of a block, two neighbours a byte.
void copy_block(const std::uint8_t* block_codes, std::uint8_t* nibbles) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block_codes));
  const auto pairs = [](__m128i codes) {  // each 16 bits have two codes
    const __m128i low = _mm_and_si128(codes, _mm_set1_epi8(15));
    return _mm_and_si128(_mm_or_si128(low, _mm_srli_epi16(low, 4)), _mm_set1_epi16(255));
  };
  _mm_storeu_si128(reinterpret_cast<__m128i*>(nibbles),
                   _mm_packus_epi16(pairs(bytes), pairs(_mm_srli_epi16(bytes, 4))));
}

// Rows that cannot be read as they lie: where the matrix does not fill them, completed with code 0; blocks of GGUF.
class CopiedRows {
 public:
  CodeBlock copy(const PanelSource& source, std::size_t k, std::size_t count) {
    std::memset(rows_, 0, sizeof rows_);
    if (is_blocks(source.layout)) return copy_blocks(source, k, count);
    const std::size_t bytes = source_row_bytes(source.layout, count);
    for (std::size_t c = 0; c < source.columns; ++c) {
      std::memcpy(rows_[c], source.codes + c * source.row_bytes + source_row_bytes(source.layout, k), bytes);
      // The nibble after the last code of a row may be anything.
      if (source.layout == ZENWOQ_CODES_NIBBLES && count % 2 != 0) rows_[c][bytes - 1] &= 0x0F;
    }
    return {source.layout, rows_[0], rows_[0], sizeof rows_[0]};
  }

 private:
  CodeBlock copy_blocks(const PanelSource& source, std::size_t k, std::size_t count) {
    const std::size_t block_bytes = source_row_bytes(source.layout, kBlockCodes);
    for (std::size_t c = 0; c < source.columns; ++c) {
      const std::uint8_t* blocks = source.codes + c * source.row_bytes + source_row_bytes(source.layout, k);
      for (std::size_t b = 0; b < count / kBlockCodes; ++b) {
        copy_block(blocks + b * block_bytes + block_codes_at(source.layout), rows_[c] + b * kBlockCodeBytes);
      }
    }
    return {ZENWOQ_CODES_NIBBLES, rows_[0], rows_[0], sizeof rows_[0]};
  }

  alignas(64) std::uint8_t rows_[kPanelColumns][kBlockK];
};

bool pack_codes(const CodeKernels& kernels, const PanelSource& source, std::uint8_t* out) {
  const PanelLayout layout = source.header.layout();
  const bool another_panel = source.header.n - source.first >= 2 * kPanelColumns;
  CopiedRows copied;
  for (std::size_t first = 0; first < layout.steps(); first += kBlockSteps) {
    const std::size_t k = first * kStepK;
    const std::size_t block_k = std::min(kBlockK, source.header.k - k);
    const std::size_t block_steps = std::min(kBlockSteps, layout.steps() - first);
    std::uint8_t* steps[kBlockSteps];
    for (std::size_t i = 0; i < block_steps; ++i) steps[i] = out + layout.step(first + i);
    CodeBlock block;
    if (block_k == kBlockK && source.columns == kPanelColumns && !is_blocks(source.layout)) {
      const std::uint8_t* rows = source.codes + source_row_bytes(source.layout, k);
      const std::uint8_t* next = k + kBlockK < source.header.k ? rows + source_row_bytes(source.layout, kBlockK)
                                 : another_panel               ? source.codes + kPanelColumns * source.row_bytes
                                                               : rows;
      block = {source.layout, rows, next, source.row_bytes};
    } else {
      block = copied.copy(source, k, block_k);
    }
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

// Values [columns,G] -> a row of 64 of each group. fix(row) converts a row in place and returns whether its values are
// legal.
template <typename Word, typename Fix>
bool pack_parameters(const PanelSource& source, const Parameters& values, RowOffset row_offset, Word padding,
                     const Fix& fix, std::uint8_t* out) {
  constexpr std::size_t kCount = kTileGroups<Word>;
  GroupTile<Word> tile;
  const PanelLayout layout = source.header.layout();
  const std::size_t groups = layout.groups();
  // Read below in 64 places at once, which no hardware prefetcher follows.
  const std::size_t bytes = source.columns * groups * sizeof(Word);
  for (std::size_t byte = 0; byte < bytes && !is_blocks(source.layout); byte += 64) {
    __builtin_prefetch(values.first + byte, 0, 2);
  }
  bool good = true;
  for (std::size_t first = 0; first < groups; first += kCount) {
    const std::size_t count = std::min(kCount, groups - first);
    if (source.columns < kPanelColumns) std::fill_n(tile.rows[0], kCount * kPanelColumns, padding);
    read_tile(values.at(0, first), values.row_bytes, values.group_bytes, source.columns, count, &tile);
    for (std::size_t g = 0; g < count; ++g) {
      good &= fix(tile.rows[g]);
      stream_row<sizeof tile.rows[g]>(tile.rows[g], out + (layout.*row_offset)(first + g));
    }
  }
  return good;
}

template <typename Word>
bool pack_floats(const PanelSource& source, const Parameters& values, RowOffset row_offset, Word exponent,
                 std::uint8_t* out) {
  const auto all_finite = [exponent](const Word(&row)[kPanelColumns]) {
    bool infinite = false;
    for (const Word bits : row) infinite |= (bits & exponent) == exponent;
    return !infinite;
  };
  return pack_parameters<Word>(source, values, row_offset, 0, all_finite, out);
}

// Scales or offsets, 0 in columns past N. False: one is not finite.
bool pack_floats(const PanelSource& source, const Parameters& values, RowOffset row_offset, std::uint8_t* out) {
  switch (source.header.scale_type) {
    case ZENWOQ_F32: return pack_floats<std::uint32_t>(source, values, row_offset, 0x7F800000u, out);
    case ZENWOQ_F16: return pack_floats<std::uint16_t>(source, values, row_offset, 0x7C00u, out);
    case ZENWOQ_BF16: return pack_floats<std::uint16_t>(source, values, row_offset, 0x7F80u, out);
  }
  return false;
}

// False: one is outside 0..16.
bool pack_integer_zeros(const PanelSource& source, std::uint8_t* out) {
  const auto subtract = [](std::uint8_t(&row)[kPanelColumns]) {
    bool outside = false;
    for (std::uint8_t& zero : row) {
      outside |= zero > 16;
      zero = static_cast<std::uint8_t>(8 - zero);
    }
    return !outside;
  };
  return pack_parameters<std::uint8_t>(source, source.zeros, &PanelLayout::zeros, 8, subtract, out);
}

Status code_error(const PanelSource& source) {
  const bool is_signed = source.layout == ZENWOQ_CODES_S8;
  const bool has_bytes = is_signed || source.layout == ZENWOQ_CODES_U8;  // of which not all are codes
  for (std::size_t c = 0; has_bytes && c < source.columns; ++c) {
    for (std::size_t k = 0; k < source.header.k; ++k) {
      const std::uint8_t byte = source.codes[c * source.row_bytes + k];
      const int value = is_signed ? static_cast<std::int8_t>(byte) : byte;
      if (is_signed ? value < -8 || value > 7 : value > 15) {
        return invalid("code {} at row {}, column {}: must be in {}", value, source.first + c, k,
                       is_signed ? "-8..7" : "0..15");
      }
    }
  }
  return {};
}

Status float_error(const PanelSource& source, const char* what, const Parameters& values) {
  const std::size_t groups = source.header.groups();
  for (std::size_t i = 0; i < source.columns * groups; ++i) {
    const float value = load_as_f32(source.header.scale_type, values.at(i / groups, i % groups), 0);
    if (!is_finite(value)) {
      return invalid("{} {} at row {}, group {}: must be finite", what, value, source.first + i / groups, i % groups);
    }
  }
  return {};
}

Status zero_error(const PanelSource& source) {
  const std::size_t groups = source.header.groups();
  for (std::size_t i = 0; i < source.columns * groups; ++i) {
    const int zero = static_cast<std::int8_t>(*source.zeros.at(i / groups, i % groups));
    if (zero < 0 || zero > 16) {
      return invalid("zero {} at row {}, group {}: must be in 0..16", zero, source.first + i / groups, i % groups);
    }
  }
  return {};
}

// What blocks of GGUF have in them must be what the description says.
Status check_blocks(const PackedHeader& header, const zenwoq_weight_source& source) {
  const bool q4_0 = source.code_layout == ZENWOQ_CODES_GGUF_Q4_0;
  const char* name = q4_0 ? "Q4_0" : "Q4_1";
  if (header.k % kBlockCodes != 0 || header.group() != kBlockCodes) {
    return invalid("k = {} in groups of {}: blocks of GGUF {} are groups of {}", header.k, header.group(), name,
                   kBlockCodes);
  }
  if (header.scale_type != ZENWOQ_F16) return invalid("scale_type must be ZENWOQ_F16 (2) for blocks of GGUF {}", name);
  if (header.zero_kind != (q4_0 ? ZENWOQ_ZERO_NONE : ZENWOQ_ZERO_OFFSET)) {
    return invalid("zero_kind must be {} for blocks of GGUF {}",
                   q4_0 ? "ZENWOQ_ZERO_NONE (0)" : "ZENWOQ_ZERO_OFFSET (2)", name);
  }
  for (std::size_t code = 0; !q4_0 && code < std::size(header.table); ++code) {
    const float value = header.table[code];
    if (value != static_cast<float>(code)) {
      return invalid("table[{}] is {}: must be {} for blocks of GGUF Q4_1 (ZENWOQ_TABLE_UNSIGNED)", code, value, code);
    }
  }
  if (source.scales != nullptr || source.zeros != nullptr) {
    return invalid("scales or zeros given, but blocks of GGUF {} have their own: they would be ignored", name);
  }
  return {};
}

}  // namespace

Status check_source(const PackedHeader& header, const zenwoq_weight_source& source) {
  if (static_cast<unsigned>(source.code_layout) > ZENWOQ_CODES_GGUF_Q4_1) {
    return invalid("code_layout {}: must be nibbles (0), u8 (1), s8 (2), GGUF Q4_0 (3) or GGUF Q4_1 (4)",
                   static_cast<int>(source.code_layout));
  }
  const bool blocks = is_blocks(source.code_layout);
  if (blocks) {
    if (Status status = check_blocks(header, source); !status.ok()) return status;
  }
  const auto check_array = [](const char* name, const void* data, std::size_t bytes, std::size_t needed) -> Status {
    if (data == nullptr) return invalid("{} is NULL, {} bytes are needed", name, needed);
    if (bytes < needed)
      return {ZENWOQ_ERROR_BUFFER_TOO_SMALL, fmt::format("{}_bytes is {}, {} are needed", name, bytes, needed)};
    return {};
  };
  const std::size_t row = source_row_bytes(source.code_layout, header.k);
  const std::size_t stride = source.codes_row_bytes == 0 ? row : source.codes_row_bytes;
  if (stride < row) return invalid("codes_row_bytes is {}, a row of k = {} has {}", stride, header.k, row);
  std::size_t codes_needed = 0;
  if (__builtin_mul_overflow(stride, header.n - 1, &codes_needed) ||
      __builtin_add_overflow(codes_needed, row, &codes_needed)) {
    return {ZENWOQ_ERROR_OVERFLOW, fmt::format("{} rows of codes_row_bytes {} overflow", header.n, stride)};
  }
  // n * groups * 4 cannot overflow: make_header has checked the larger packed size.
  const std::size_t parameters = header.n * header.groups();
  if (Status status = check_array("codes", source.codes, source.codes_bytes, codes_needed); !status.ok()) return status;
  if (blocks) return {};
  if (Status status = check_array("scales", source.scales, source.scales_bytes, parameters * header.scale_bytes());
      !status.ok()) {
    return status;
  }
  if (header.zero_kind == ZENWOQ_ZERO_NONE) {
    if (source.zeros != nullptr)
      return invalid("zeros given, but zero_kind is ZENWOQ_ZERO_NONE: they would be ignored");
    return {};
  }
  return check_array("zeros", source.zeros, source.zeros_bytes, parameters * header.zero_bytes());
}

bool pack_panels(const PackedHeader& header, const zenwoq_weight_source& source, std::size_t begin, std::size_t end,
                 std::uint8_t* packed, const CodeKernels& kernels) {
  bool good = true;
  for (std::size_t i = begin; good && i < end; ++i) {
    const PanelSource panel(header, source, i);
    std::uint8_t* out = packed + kHeaderBytes + i * header.panel_bytes;
    good = pack_codes(kernels, panel, out) && pack_floats(panel, panel.scales, &PanelLayout::scales, out);
    if (good && header.zero_kind == ZENWOQ_ZERO_INTEGER) good = pack_integer_zeros(panel, out);
    if (good && header.zero_kind == ZENWOQ_ZERO_OFFSET)
      good = pack_floats(panel, panel.zeros, &PanelLayout::zeros, out);
  }
  _mm_sfence();  // the streaming stores become visible to whoever learns that this range is done
  if (!good) return false;
  if (begin == 0) write_header(header, packed);
  if (end == header.panels()) std::memset(packed + header.total_bytes - kSpareBytes, 0, kSpareBytes);
  return true;
}

Status source_error(const PackedHeader& header, const zenwoq_weight_source& source, std::size_t begin,
                    std::size_t end) {
  for (std::size_t i = begin; i < end; ++i) {
    const PanelSource panel(header, source, i);
    Status status = code_error(panel);
    if (status.ok()) status = float_error(panel, "scale", panel.scales);
    if (status.ok() && header.zero_kind == ZENWOQ_ZERO_INTEGER) status = zero_error(panel);
    if (status.ok() && header.zero_kind == ZENWOQ_ZERO_OFFSET) status = float_error(panel, "offset", panel.zeros);
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
