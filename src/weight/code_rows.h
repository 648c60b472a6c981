// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The codes of a source, whatever their layout, as blocks of 64 rows x 128 k that code_kernels.h packs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "src/weight/code_kernels.h"
#include "src/weight/quantization.h"

namespace zenwoq {

// Blocks of GGUF: codes of a row in groups of 32, with their scales.
struct BlockFormat {
  zenwoq_code_layout layout;
  const char* name;
  std::size_t codes, bytes;  // of a block
  std::size_t half;          // a byte has the codes i and i + half of every 2 * half
  std::size_t codes_at, scales_at, offsets_at;
  zenwoq_dtype scale_type;
  zenwoq_zero_kind zero_kind;
  std::optional<zenwoq_code_table> table;  // what the codes must mean; any table if empty
};
inline constexpr std::size_t kBlockGroup = 32;

// NULL for layouts without blocks.
const BlockFormat* find_block_format(zenwoq_code_layout layout);

inline bool is_code_layout(int value) { return value >= ZENWOQ_CODES_NIBBLES && value <= ZENWOQ_CODES_ATEN_32; }

// Rows that codes_row_bytes counts, and bytes of one: of the matrix, or of words.
struct CodeArray {
  std::size_t rows, row_bytes;
};
CodeArray code_array(zenwoq_code_layout layout, std::size_t n, std::size_t k);

// Whether a matrix of this shape can have the layout; else why not, in a sentence's end.
std::string why_not_layout(zenwoq_code_layout layout, std::size_t n, std::size_t k);

// Layouts whose columns may be permuted while they are packed.
bool can_be_permuted(zenwoq_code_layout layout);

// The codes of one panel.
struct CodeRows {
  CodeRows(const Quantization& q, const zenwoq_weight_source& source, std::size_t panel);

  // Of column c of the panel, where rows are the matrix'.
  const std::uint8_t* row(std::size_t c) const { return codes + (first + c) * row_bytes; }
  // Whether packing reads `count` codes of 64 rows as they lie.
  bool can_be_read(std::size_t count) const {
    return in_place && count == kBlockK && columns == kPanelColumns && permutation == nullptr;
  }
  CodeBlock block(std::size_t k) const;

  const zenwoq_code_layout layout;
  const std::size_t n, k;
  const std::size_t row_bytes;
  const std::size_t first, columns;  // rows of the matrix
  const std::uint8_t* const codes;
  const std::uint32_t* const permutation;  // NULL if columns are not permuted
  const bool in_place;                     // CodeKernels::pack_block knows the layout
};

// A block that cannot be read as it lies: completed with code 0, of another layout, or permuted.
class CopiedRows {
 public:
  CodeBlock copy(const CodeRows& source, std::size_t k, std::size_t count);

 private:
  void copy_rows(const CodeRows& source, std::size_t k, std::size_t count);
  void copy_blocks(const CodeRows& source, std::size_t k, std::size_t count);
  void copy_permuted(const CodeRows& source, std::size_t k, std::size_t count);
  void copy_permuted_gptq(const CodeRows& source, const std::uint32_t* columns, std::size_t count);
  void copy_gptq(const CodeRows& source, std::size_t k, std::size_t count);
  void copy_awq(const CodeRows& source, std::size_t k, std::size_t count);
  void copy_awq_fast(const CodeRows& source, std::size_t k, std::size_t count);
  void copy_aten(const CodeRows& source, std::size_t k, std::size_t count);

  alignas(64) std::uint8_t rows_[kPanelColumns][kBlockK];
};

}  // namespace zenwoq
