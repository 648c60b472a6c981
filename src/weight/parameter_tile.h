// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Scales and zeros between [columns,G] and rows of 64 columns.
#pragma once

#include <emmintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "jit/panel_layout.h"

namespace zenwoq {

// Where a panel has the scales (or the zeros) of a group, from the panel's start.
using RowOffset = std::size_t (PanelLayout::*)(std::size_t group) const;

// As many groups as a vector has values.
template <typename Word>
inline constexpr std::size_t kTileGroups = 16 / sizeof(Word);

// The values of a few groups, as a panel has them.
template <typename Word>
struct GroupTile {
  alignas(64) Word rows[kTileGroups<Word>][kPanelColumns];
};

template <typename Word>
__m128i interleave_low(__m128i a, __m128i b) {
  if constexpr (sizeof(Word) == 1) return _mm_unpacklo_epi8(a, b);
  return sizeof(Word) == 2 ? _mm_unpacklo_epi16(a, b) : _mm_unpacklo_epi32(a, b);
}

template <typename Word>
__m128i interleave_high(__m128i a, __m128i b) {
  if constexpr (sizeof(Word) == 1) return _mm_unpackhi_epi8(a, b);
  return sizeof(Word) == 2 ? _mm_unpackhi_epi16(a, b) : _mm_unpackhi_epi32(a, b);
}

// A square of values of any alignment: interleaving its upper with its lower half transposes it in log2(side) rounds.
template <typename Word>
void transpose_square(const void* from, std::size_t from_row_bytes, void* to, std::size_t to_row_bytes) {
  constexpr std::size_t kSide = kTileGroups<Word>;
  __m128i v[kSide], mixed[kSide];
  for (std::size_t i = 0; i < kSide; ++i) std::memcpy(&v[i], static_cast<const char*>(from) + i * from_row_bytes, 16);
  for (std::size_t round = 1; round < kSide; round *= 2) {
    for (std::size_t i = 0; i < kSide / 2; ++i) {
      mixed[2 * i] = interleave_low<Word>(v[i], v[i + kSide / 2]);
      mixed[2 * i + 1] = interleave_high<Word>(v[i], v[i + kSide / 2]);
    }
    std::memcpy(v, mixed, sizeof v);
  }
  for (std::size_t i = 0; i < kSide; ++i) std::memcpy(static_cast<char*>(to) + i * to_row_bytes, &v[i], 16);
}

// values: of the first of `columns` columns and `count` groups, columns row_bytes apart, groups group_bytes. Other
// columns are left alone.
template <typename Word>
void read_tile(const std::uint8_t* values, std::size_t row_bytes, std::size_t group_bytes, std::size_t columns,
               std::size_t count, GroupTile<Word>* tile) {
  auto& rows = tile->rows;
  if (row_bytes == sizeof(Word)) {  // columns side by side
    for (std::size_t g = 0; g < count; ++g) std::memcpy(rows[g], values + g * group_bytes, columns * sizeof(Word));
    return;
  }
  std::size_t c = 0;
  for (; group_bytes == sizeof(Word) && count == kTileGroups<Word> && c + count <= columns; c += count) {
    transpose_square<Word>(values + c * row_bytes, row_bytes, &rows[0][c], sizeof rows[0]);
  }
  for (; c < columns; ++c) {
    const std::uint8_t* column = values + c * row_bytes;
    for (std::size_t g = 0; g < count; ++g) std::memcpy(&rows[g][c], column + g * group_bytes, sizeof(Word));
  }
}

// The inverse.
template <typename Word>
void write_tile(const GroupTile<Word>& tile, std::size_t columns, std::size_t count, std::uint8_t* values,
                std::size_t row_bytes) {
  const auto& rows = tile.rows;
  std::size_t c = 0;
  for (; count == kTileGroups<Word> && c + count <= columns; c += count) {
    transpose_square<Word>(&rows[0][c], sizeof rows[0], values + c * row_bytes, row_bytes);
  }
  for (; c < columns; ++c) {
    std::uint8_t* column = values + c * row_bytes;
    for (std::size_t g = 0; g < count; ++g) std::memcpy(column + g * sizeof(Word), &rows[g][c], sizeof(Word));
  }
}

}  // namespace zenwoq
