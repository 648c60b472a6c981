// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Whether a source has the arrays that its description says, before any value of them is looked at.
#include <vector>

#include "jit/number.h"
#include "src/weight/code_rows.h"
#include "src/weight/packed.h"

namespace zenwoq {
namespace {

// What blocks of GGUF have in them must be what the description says.
Status check_blocks(const PackedHeader& header, const zenwoq_weight_source& source, const BlockFormat& block) {
  if (header.k % block.codes != 0 || header.group() != kBlockGroup) {
    return invalid("k = {} in groups of {}: blocks of GGUF {} are {} k in groups of {}", header.k, header.group(),
                   block.name, block.codes, kBlockGroup);
  }
  if (header.scale_type != block.scale_type) {
    return invalid("scale_type is {}: must be {} ({}) for blocks of GGUF {}", dtype_name(header.scale_type),
                   dtype_name(block.scale_type), static_cast<int>(block.scale_type), block.name);
  }
  if (header.zero_kind != block.zero_kind) {
    return invalid("zero_kind is {}: must be {} ({}) for blocks of GGUF {}", zero_kind_name(header.zero_kind),
                   zero_kind_name(block.zero_kind), static_cast<int>(block.zero_kind), block.name);
  }
  for (std::size_t code = 0; block.table && code < std::size(header.table); ++code) {
    const float right = (*code_table(*block.table))[code];
    if (header.table[code] != right) {
      return invalid("table[{}] is {}: must be {} for blocks of GGUF {} (zenwoq_code_table_fill, kind {})", code,
                     header.table[code], right, block.name, static_cast<int>(*block.table));
    }
  }
  for (const void* array : {source.scales, source.zeros, source.super_scales, source.super_offsets}) {
    if (array == nullptr) continue;
    return invalid("scales or zeros given, but blocks of GGUF {} have their own: they would be ignored", block.name);
  }
  return {};
}

Status check_array(const char* name, const void* data, std::size_t bytes, std::size_t needed) {
  if (needed == 0) {
    if (data == nullptr) return {};
    return invalid("{} given, but the description says that there are none: they would be ignored", name);
  }
  if (data == nullptr) return invalid("{} is NULL, {} bytes are needed", name, needed);
  if (bytes < needed)
    return {ZENWOQ_ERROR_BUFFER_TOO_SMALL, formatted("{}_bytes is {}, {} are needed", name, bytes, needed)};
  return {};
}

Status check_codes(const PackedHeader& header, const zenwoq_weight_source& source) {
  const CodeArray array = code_array(source.code_layout, header.n, header.k);
  const std::size_t row = array.row_bytes;
  const std::size_t stride = source.codes_row_bytes == 0 ? row : source.codes_row_bytes;
  if (stride < row) return invalid("codes_row_bytes is {}, a row of k = {} has {}", stride, header.k, row);
  const bool no_stride = source.code_layout == ZENWOQ_CODES_ATEN_64 || source.code_layout == ZENWOQ_CODES_ATEN_32;
  if (no_stride && stride != row) return invalid("codes_row_bytes is {}: must be 0 for blocks of ATen's", stride);
  std::size_t needed = 0;
  if (__builtin_mul_overflow(stride, array.rows - 1, &needed) || __builtin_add_overflow(needed, row, &needed)) {
    return {ZENWOQ_ERROR_OVERFLOW, formatted("{} rows of codes_row_bytes {} overflow", array.rows, stride)};
  }
  return check_array("codes", source.codes, source.codes_bytes, needed);
}

// Permutation and factors of x. May throw bad_alloc.
Status check_columns(const PackedHeader& header, const zenwoq_weight_source& source) {
  const std::size_t bytes = header.k * 4;
  if (Status status =
          check_array("permutation", source.permutation, source.permutation_bytes, header.permuted ? bytes : 0);
      !status.ok()) {
    return status;
  }
  if (Status status = check_array("x_scale", source.x_scale, source.x_scale_bytes, header.x_scaled ? bytes : 0);
      !status.ok()) {
    return status;
  }
  if (header.permuted && !can_be_permuted(source.code_layout)) {
    return {ZENWOQ_ERROR_UNSUPPORTED,
            formatted("code_layout {} with a permutation: must be nibbles (0), u8 (1), s8 (2) or GPTQ (9)",
                      static_cast<int>(source.code_layout))};
  }
  std::vector<bool> seen(header.permuted ? header.k : 0);
  for (std::size_t j = 0; j < seen.size(); ++j) {
    const std::uint32_t column = source.permutation[j];
    if (column >= header.k || seen[column]) {
      return invalid("permutation[{}] is {}: must name each of {} columns once", j, column, header.k);
    }
    seen[column] = true;
  }
  for (std::size_t j = 0; header.x_scaled && j < header.k; ++j) {
    if (!is_finite(source.x_scale[j])) return invalid("x_scale[{}] is {}: must be finite", j, source.x_scale[j]);
  }
  return {};
}

}  // namespace

Status check_source(const PackedHeader& header, const zenwoq_weight_source& source) {
  const auto layout = static_cast<int>(source.code_layout);
  if (!is_code_layout(layout)) {
    return invalid("code_layout {}: must be one of ZENWOQ_CODES_NIBBLES (0) to ZENWOQ_CODES_ATEN_32 (13)", layout);
  }
  if (source.parameters_by_group > 1)
    return invalid("parameters_by_group is {}: must be 0 or 1", source.parameters_by_group);
  if (source.reserved != 0) {
    return invalid("reserved is {}: must be 0, a later version may give it a meaning", source.reserved);
  }
  if (std::string reason = why_not_layout(source.code_layout, header.n, header.k); !reason.empty()) {
    return invalid("{}", reason);
  }
  const BlockFormat* block = find_block_format(source.code_layout);
  if (block != nullptr) {
    if (Status status = check_blocks(header, source, *block); !status.ok()) return status;
  }
  if (Status status = check_codes(header, source); !status.ok()) return status;
  if (Status status = check_columns(header, source); !status.ok() || block != nullptr) return status;
  // n * groups * 4 cannot overflow: make_header has checked the larger packed size.
  const std::size_t parameters = header.n * header.groups();
  const std::size_t supers = header.n * header.supers() * 2;
  const struct {
    const char* name;
    const void* data;
    std::size_t bytes, needed;
  } arrays[] = {
      {"scales", source.scales, source.scales_bytes, parameters * header.scale_bytes()},
      {"zeros", source.zeros, source.zeros_bytes, parameters * header.zero_bytes()},
      {"super_scales", source.super_scales, source.super_scales_bytes, supers},
      {"super_offsets", source.super_offsets, source.super_offsets_bytes, header.format().has_offsets() ? supers : 0},
  };
  for (const auto& array : arrays) {
    if (Status status = check_array(array.name, array.data, array.bytes, array.needed); !status.ok()) return status;
  }
  return {};
}

}  // namespace zenwoq
