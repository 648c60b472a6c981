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

// Columns of places k, k + 1, ... of a permuted weight: always within a row, whatever became of mapped bytes.
class PermutedColumns {
 public:
  PermutedColumns(const PackedView& view, std::size_t k) : entries_(view.permutation()), k_(k), count_(view.header.k) {}
  std::size_t operator[](std::size_t j) const {
    std::uint32_t column;
    std::memcpy(&column, entries_ + (k_ + j) * sizeof column, sizeof column);
    return std::min<std::size_t>(column, count_ - 1);
  }

 private:
  const std::uint8_t* entries_;
  std::size_t k_, count_;
};

void scatter_nibbles(const std::uint8_t* nibbles, const PermutedColumns& columns, std::size_t count,
                     std::uint8_t* row) {
  for (std::size_t j = 0; j < count; ++j) {
    const std::size_t column = columns[j];
    const unsigned code = nibbles[j / 2] >> (4 * (j % 2)) & 15u;
    row[column / 2] = static_cast<std::uint8_t>(row[column / 2] | code << (4 * (column % 2)));
  }
}

void unpack_codes(const CodeKernels& kernels, const PackedView& view, std::size_t panel, std::uint8_t* codes) {
  const PackedHeader& header = view.header;
  const PanelLayout layout = header.layout();
  const std::size_t row_bytes = (header.k + 1) / 2;
  const std::size_t columns = std::min<std::size_t>(kPanelColumns, header.n - panel * kPanelColumns);
  std::uint8_t* rows = codes + panel * kPanelColumns * row_bytes;
  if (header.permuted) std::memset(rows, 0, columns * row_bytes);
  for (std::size_t k = 0; k < header.k; k += kBlockK) {
    const BlockSteps steps(layout, view.panel(panel), k / kStepK);
    const std::size_t count = std::min<std::size_t>(kBlockK, header.k - k);
    if (count == kBlockK && columns == kPanelColumns && !header.permuted) {
      kernels.unpack_block(steps.at, kPanelColumns, rows + k / 2, row_bytes);
      continue;
    }
    alignas(64) std::uint8_t partial[kPanelColumns][kBlockK / 2];
    kernels.unpack_block(steps.at, kPanelColumns, partial[0], sizeof partial[0]);
    for (std::size_t c = 0; c < columns; ++c) {
      if (header.permuted) {
        scatter_nibbles(partial[c], PermutedColumns(view, k), count, rows + c * row_bytes);
        continue;
      }
      if (count % 2 != 0) partial[c][count / 2] &= 0x0F;
      std::memcpy(rows + c * row_bytes + k / 2, partial[c], (count + 1) / 2);
    }
  }
}

// `count` rows of 64 values, from `row(i)` on -> [columns,count]. fix(row) may change the values.
template <typename Word, typename Fix>
void unpack_parameters(const PackedView& view, std::size_t panel, std::size_t count, RowOffset row, const Fix& fix,
                       std::uint8_t* values) {
  const PanelLayout layout = view.header.layout();
  const std::size_t first_column = panel * kPanelColumns;
  const std::size_t columns = std::min<std::size_t>(kPanelColumns, view.header.n - first_column);
  GroupTile<Word> tile;
  for (std::size_t first = 0; first < count; first += kTileGroups<Word>) {
    const std::size_t many = std::min(kTileGroups<Word>, count - first);
    for (std::size_t g = 0; g < many; ++g) {
      std::memcpy(tile.rows[g], view.panel(panel) + (layout.*row)(first + g), sizeof tile.rows[g]);
      fix(tile.rows[g]);
    }
    write_tile(tile, columns, many, values + (first_column * count + first) * sizeof(Word), count * sizeof(Word));
  }
}

// Values of `bytes` bytes, as they are.
void unpack_values(const PackedView& view, std::size_t panel, std::size_t count, std::size_t bytes, RowOffset row,
                   std::uint8_t* values) {
  const auto keep = [](auto&) {};
  if (bytes == 4) return unpack_parameters<std::uint32_t>(view, panel, count, row, keep, values);
  if (bytes == 2) return unpack_parameters<std::uint16_t>(view, panel, count, row, keep, values);
  unpack_parameters<std::uint8_t>(view, panel, count, row, keep, values);
}

void unpack_zeros(const PackedView& view, std::size_t panel, std::uint8_t* zeros) {
  const PackedHeader& header = view.header;
  if (!header.format().has_integer_zeros()) {
    return unpack_values(view, panel, header.groups(), header.zero_bytes(), &PanelLayout::zeros, zeros);
  }
  const auto subtract = [](std::uint8_t(&row)[kPanelColumns]) {
    for (std::uint8_t& zero : row) zero = static_cast<std::uint8_t>(8 - zero);
  };
  unpack_parameters<std::uint8_t>(view, panel, header.groups(), &PanelLayout::zeros, subtract, zeros);
}

// A scale, or an offset or zero point of that type, of both levels.
float parameter(zenwoq_dtype type, const std::uint8_t* values, const std::uint8_t* supers, std::size_t column) {
  const float value = load_as_f32(type, values, column);
  return is_two_level(type) ? value * load_as_f32(ZENWOQ_F16, supers, column) : value;
}

float with_tensor_scale(const PackedHeader& header, float value) {
  switch (header.tensor_scale_kind) {
    case ZENWOQ_TENSOR_SCALE_TIMES: return value * header.tensor_scale;
    case ZENWOQ_TENSOR_SCALE_BY: return value / header.tensor_scale;
    default: return value;
  }
}

GroupValues values_of(const PackedHeader& header, const PanelLayout& layout, const std::uint8_t* panel,
                      std::size_t column, std::size_t g) {
  const ParameterFormat format = header.format();
  const std::size_t super = g / PanelLayout::kSuperGroups;
  const std::uint8_t* zeros = panel + layout.zeros(g);
  const float scale =
      parameter(format.scale_type, panel + layout.scales(g), panel + layout.super_scales(super), column);
  GroupValues values = {header.table.data(), header.zero_kind, with_tensor_scale(header, scale), 0};
  switch (header.zero_kind) {
    case ZENWOQ_ZERO_NONE: break;
    case ZENWOQ_ZERO_INTEGER: values.added = static_cast<std::int8_t>(zeros[column]); break;
    case ZENWOQ_ZERO_FLOAT: values.added = -load_as_f32(format.zero_type, zeros, column); break;
    case ZENWOQ_ZERO_OFFSET:
      values.added =
          with_tensor_scale(header, parameter(format.scale_type, zeros, panel + layout.super_offsets(super), column));
  }
  return values;
}

}  // namespace

void unpack(const PackedView& view, const UnpackedArrays& arrays, const CodeKernels& kernels) {
  const PackedHeader& header = view.header;
  const std::size_t groups = header.groups(), supers = header.supers();
  for (std::size_t panel = 0; panel < header.panels(); ++panel) {
    if (arrays.codes != nullptr) unpack_codes(kernels, view, panel, arrays.codes);
    if (arrays.scales != nullptr) {
      unpack_values(view, panel, groups, header.scale_bytes(), &PanelLayout::scales, arrays.scales);
    }
    if (arrays.zeros != nullptr && header.format().has_zeros()) unpack_zeros(view, panel, arrays.zeros);
    if (arrays.super_scales != nullptr) {
      unpack_values(view, panel, supers, 2, &PanelLayout::super_scales, arrays.super_scales);
    }
    if (arrays.super_offsets != nullptr) {
      unpack_values(view, panel, supers, 2, &PanelLayout::super_offsets, arrays.super_offsets);
    }
  }
}

void dequantize(const PackedView& view, std::size_t n_begin, std::size_t n_end, float* values,
                const CodeKernels& kernels) {
  constexpr std::size_t kRows = 8;  // unpacked at a time
  const PackedHeader& header = view.header;
  const PanelLayout layout = header.layout();
  if (header.permuted) std::memset(values, 0, (n_end - n_begin) * header.k * sizeof *values);
  for (std::size_t first = n_begin / kRows * kRows; first < n_end; first += kRows) {
    const std::uint8_t* panel = view.panel(first / kPanelColumns);
    for (std::size_t k = 0; k < header.k; k += kBlockK) {
      const BlockSteps steps(layout, panel + first % kPanelColumns * 4, k / kStepK);
      alignas(64) std::uint8_t nibbles[kRows][kBlockK / 2];
      kernels.unpack_block(steps.at, kRows, nibbles[0], sizeof nibbles[0]);
      const std::size_t end = std::min<std::size_t>(header.k, k + kBlockK);
      for (std::size_t n = std::max(first, n_begin); n < std::min(first + kRows, n_end); ++n) {
        float in_places[kBlockK];  // of a permuted weight
        float* row = values + (n - n_begin) * header.k;
        float* to = header.permuted ? in_places : row + k;
        for (std::size_t i = k, next; i < end; i = next) {  // one group, or what the block has of it
          const std::size_t g = i / header.group();
          next = std::min<std::size_t>(end, (g + 1) * header.group());
          const GroupValues group = values_of(header, layout, panel, n % kPanelColumns, g);
          kernels.dequantize(&nibbles[n - first][(i - k) / 2], next - i, group, to + (i - k));
        }
        const PermutedColumns columns(view, k);
        for (std::size_t j = 0; header.permuted && j < end - k; ++j) {
          std::memcpy(row + columns[j], &in_places[j], sizeof *row);
        }
      }
    }
  }
}

}  // namespace zenwoq
