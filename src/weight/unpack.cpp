// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Packed weights back to codes, scales and zeros as they came, or to f32 values.
#include <algorithm>
#include <cstring>

#include "jit/number.h"
#include "src/weight/packed.h"
#include "src/weight/parameter_tile.h"

namespace zenwoq {
namespace {

// The steps of a block; where the panel ends before, the first one again.
struct BlockSteps {
  BlockSteps(const PanelLayout& layout, const std::uint8_t* panel, std::size_t first) {
    for (std::size_t i = 0; i < kBlockSteps; ++i) {
      at[i] = panel + layout.step(first + i < layout.steps() ? first + i : first);
    }
  }
  const std::uint8_t* at[kBlockSteps];
};

void unpack_codes(const CodeKernels& kernels, const PackedView& view, std::size_t panel, std::uint8_t* codes) {
  const PackedHeader& header = view.header;
  const PanelLayout layout = header.layout();
  const std::size_t row_bytes = (header.k + 1) / 2;
  const std::size_t columns = std::min(kPanelColumns, header.n - panel * kPanelColumns);
  std::uint8_t* rows = codes + panel * kPanelColumns * row_bytes;
  for (std::size_t k = 0; k < header.k; k += kBlockK) {
    const BlockSteps steps(layout, view.panel(panel), k / kStepK);
    const std::size_t count = std::min(kBlockK, header.k - k);
    if (count == kBlockK && columns == kPanelColumns) {
      kernels.unpack_block(steps.at, kPanelColumns, rows + k / 2, row_bytes);
      continue;
    }
    alignas(64) std::uint8_t partial[kPanelColumns][kBlockK / 2];
    kernels.unpack_block(steps.at, kPanelColumns, partial[0], sizeof partial[0]);
    for (std::size_t c = 0; c < columns; ++c) {
      if (count % 2 != 0) partial[c][count / 2] &= 0x0F;
      std::memcpy(rows + c * row_bytes + k / 2, partial[c], (count + 1) / 2);
    }
  }
}

// A row of 64 values of each group -> [columns,G]. fix(row) may change the values.
template <typename Word, typename Fix>
void unpack_parameters(const PackedView& view, std::size_t panel, RowOffset row_offset, const Fix& fix,
                       std::uint8_t* values) {
  const PanelLayout layout = view.header.layout();
  const std::size_t groups = layout.groups();
  const std::size_t first_column = panel * kPanelColumns;
  const std::size_t columns = std::min(kPanelColumns, view.header.n - first_column);
  GroupTile<Word> tile;
  for (std::size_t first = 0; first < groups; first += kTileGroups<Word>) {
    const std::size_t count = std::min(kTileGroups<Word>, groups - first);
    for (std::size_t g = 0; g < count; ++g) {
      std::memcpy(tile.rows[g], view.panel(panel) + (layout.*row_offset)(first + g), sizeof tile.rows[g]);
      fix(tile.rows[g]);
    }
    write_tile(tile, columns, count, values + (first_column * groups + first) * sizeof(Word), groups * sizeof(Word));
  }
}

// Scales or offsets.
void unpack_floats(const PackedView& view, std::size_t panel, RowOffset row_offset, std::uint8_t* values) {
  if (view.header.scale_bytes() == 4) {
    unpack_parameters<std::uint32_t>(
        view, panel, row_offset, [](auto&) {}, values);
  } else {
    unpack_parameters<std::uint16_t>(
        view, panel, row_offset, [](auto&) {}, values);
  }
}

void unpack_zeros(const PackedView& view, std::size_t panel, std::uint8_t* zeros) {
  if (view.header.zero_kind == ZENWOQ_ZERO_OFFSET) unpack_floats(view, panel, &PanelLayout::zeros, zeros);
  if (view.header.zero_kind != ZENWOQ_ZERO_INTEGER) return;
  const auto subtract = [](std::uint8_t(&row)[kPanelColumns]) {
    for (std::uint8_t& zero : row) zero = static_cast<std::uint8_t>(8 - zero);
  };
  unpack_parameters<std::uint8_t>(view, panel, &PanelLayout::zeros, subtract, zeros);
}

GroupValues values_of(const PackedHeader& header, const PanelLayout& layout, const std::uint8_t* panel,
                      std::size_t column, std::size_t g) {
  GroupValues values = {header.table.data(), header.zero_kind,
                        load_as_f32(header.scale_type, panel + layout.scales(g), column), 0};
  const std::uint8_t* zeros = panel + layout.zeros(g);
  if (header.zero_kind == ZENWOQ_ZERO_INTEGER) values.added = static_cast<std::int8_t>(zeros[column]);
  if (header.zero_kind == ZENWOQ_ZERO_OFFSET) values.added = load_as_f32(header.scale_type, zeros, column);
  return values;
}

}  // namespace

void unpack(const PackedView& view, std::uint8_t* codes, std::uint8_t* scales, std::uint8_t* zeros,
            const CodeKernels& kernels) {
  const PackedHeader& header = view.header;
  for (std::size_t panel = 0; panel < header.panels(); ++panel) {
    if (codes != nullptr) unpack_codes(kernels, view, panel, codes);
    if (scales != nullptr) unpack_floats(view, panel, &PanelLayout::scales, scales);
    if (zeros != nullptr) unpack_zeros(view, panel, zeros);
  }
}

void dequantize(const PackedView& view, std::size_t n_begin, std::size_t n_end, float* values,
                const CodeKernels& kernels) {
  constexpr std::size_t kRows = 8;  // unpacked at a time
  const PackedHeader& header = view.header;
  const PanelLayout layout = header.layout();
  for (std::size_t first = n_begin / kRows * kRows; first < n_end; first += kRows) {
    const std::uint8_t* panel = view.panel(first / kPanelColumns);
    for (std::size_t k = 0; k < header.k; k += kBlockK) {
      const BlockSteps steps(layout, panel + first % kPanelColumns * 4, k / kStepK);
      alignas(64) std::uint8_t nibbles[kRows][kBlockK / 2];
      kernels.unpack_block(steps.at, kRows, nibbles[0], sizeof nibbles[0]);
      const std::size_t end = std::min(header.k, k + kBlockK);
      for (std::size_t n = std::max(first, n_begin); n < std::min(first + kRows, n_end); ++n) {
        for (std::size_t i = k, next; i < end; i = next) {  // one group, or what the block has of it
          const std::size_t g = i / header.group();
          next = std::min(end, (g + 1) * header.group());
          const GroupValues group = values_of(header, layout, panel, n % kPanelColumns, g);
          float* to = values + (n - n_begin) * header.k + i;
          kernels.dequantize(&nibbles[n - first][(i - k) / 2], next - i, group, to);
        }
      }
    }
  }
}

}  // namespace zenwoq
