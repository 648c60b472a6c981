// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Packed weights back to codes, scales and zeros as they came, or to f32 values.
#include <algorithm>
#include <cstring>

#include "weight/convert.h"
#include "weight/packed.h"

namespace zenwoq {
namespace {

// Block by block, all steps of one block: those past the panel's end are the first, to be overlooked.
void find_steps(const PanelLayout& layout, const std::uint8_t* panel, std::size_t first, const std::uint8_t* (&steps)[kBlockSteps]) {
  for (std::size_t i = 0; i < kBlockSteps; ++i) steps[i] = panel + layout.step(first + i < layout.steps() ? first + i : first);
}

void unpack_codes(const CodeKernels& kernels, const PackedView& view, std::size_t panel, std::uint8_t* codes) {
  const PackedHeader& header = view.header;
  const PanelLayout layout = header.layout();
  const std::size_t row_bytes = (header.k + 1) / 2;
  const std::size_t columns = std::min(kPanelColumns, header.n - panel * kPanelColumns);
  std::uint8_t* rows = codes + panel * kPanelColumns * row_bytes;
  for (std::size_t k = 0; k < header.k; k += kBlockK) {
    const std::uint8_t* steps[kBlockSteps];
    find_steps(layout, view.panel(panel), k / kStepK, steps);
    const std::size_t count = std::min(kBlockK, header.k - k);
    if (count == kBlockK && columns == kPanelColumns) {
      kernels.unpack_block(steps, kPanelColumns, rows + k / 2, row_bytes);
      continue;
    }
    alignas(64) std::uint8_t partial[kPanelColumns][kBlockK / 2];
    kernels.unpack_block(steps, kPanelColumns, partial[0], sizeof partial[0]);
    for (std::size_t c = 0; c < columns; ++c) {
      if (count % 2 != 0) partial[c][count / 2] &= 0x0F;
      std::memcpy(rows + c * row_bytes + k / 2, partial[c], (count + 1) / 2);
    }
  }
}

// Rows of 64 values, one of each group -> [columns,G].
void unpack_parameters(const PackedView& view, std::size_t panel, std::size_t size, std::size_t (PanelLayout::*row_offset)(std::size_t) const,
                       std::uint8_t* values) {
  const PanelLayout layout = view.header.layout();
  const std::size_t groups = layout.groups();
  const std::size_t first = panel * kPanelColumns;
  const std::size_t columns = std::min(kPanelColumns, view.header.n - first);
  for (std::size_t g = 0; g < groups; ++g) {
    const std::uint8_t* row = view.panel(panel) + (layout.*row_offset)(g);
    for (std::size_t c = 0; c < columns; ++c) std::memcpy(values + ((first + c) * groups + g) * size, row + c * size, size);
  }
}

GroupValues values_of(const PackedHeader& header, const PanelLayout& layout, const std::uint8_t* panel, std::size_t column,
                      std::size_t g) {
  GroupValues values = {header.table, header.zero(), load_as_f32(header.scale(), panel + layout.scales(g), column), 0};
  const std::uint8_t* zeros = panel + layout.zeros(g);
  if (header.zero() == ZENWOQ_ZERO_INTEGER) values.added = static_cast<std::int8_t>(zeros[column]);
  if (header.zero() == ZENWOQ_ZERO_OFFSET) values.added = load_as_f32(header.scale(), zeros, column);
  return values;
}

}  // namespace

void unpack(const PackedView& view, std::uint8_t* codes, std::uint8_t* scales, std::uint8_t* zeros, const CodeKernels& kernels) {
  const PackedHeader& header = view.header;
  for (std::size_t panel = 0; panel < header.panels(); ++panel) {
    if (codes != nullptr) unpack_codes(kernels, view, panel, codes);
    if (scales != nullptr) unpack_parameters(view, panel, header.scale_bytes(), &PanelLayout::scales, scales);
    if (zeros != nullptr && header.zero_bytes() != 0) unpack_parameters(view, panel, header.zero_bytes(), &PanelLayout::zeros, zeros);
  }
  if (zeros == nullptr || header.zero() != ZENWOQ_ZERO_INTEGER) return;
  for (std::size_t i = 0; i < header.n * header.groups(); ++i) zeros[i] = static_cast<std::uint8_t>(8 - zeros[i]);
}

void dequantize(const PackedView& view, std::size_t n_begin, std::size_t n_end, float* values, const CodeKernels& kernels) {
  constexpr std::size_t kRows = 8;  // unpacked at a time
  const PackedHeader& header = view.header;
  const PanelLayout layout = header.layout();
  for (std::size_t first = n_begin / kRows * kRows; first < n_end; first += kRows) {
    const std::uint8_t* panel = view.panel(first / kPanelColumns);
    for (std::size_t k = 0; k < header.k; k += kBlockK) {
      const std::uint8_t* steps[kBlockSteps];
      find_steps(layout, panel + first % kPanelColumns * 4, k / kStepK, steps);
      alignas(64) std::uint8_t nibbles[kRows][kBlockK / 2];
      kernels.unpack_block(steps, kRows, nibbles[0], sizeof nibbles[0]);
      const std::size_t end = std::min(header.k, k + kBlockK);
      for (std::size_t n = std::max(first, n_begin); n < std::min(first + kRows, n_end); ++n) {
        for (std::size_t i = k, next; i < end; i = next) {  // one group, or what the block has of it
          const std::size_t g = i / header.group();
          next = std::min(end, (g + 1) * header.group());
          kernels.dequantize(&nibbles[n - first][(i - k) / 2], next - i, values_of(header, layout, panel, n % kPanelColumns, g),
                             values + (n - n_begin) * header.k + i);
        }
      }
    }
  }
}

}  // namespace zenwoq
