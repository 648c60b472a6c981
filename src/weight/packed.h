// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The packed weight: self-describing bytes that kernels of every tier read.
//
//   [header 256][N/64 panels][64 spare]     all of it 64-byte aligned, columns padded to panels of 64
//   panel   for each group (panel_layout.h): codes [g/8 steps][4 strips][64 bytes],
//           scales [64 columns] in their own type, zeros [64 columns] int8 of 8 - zero, or offsets in the scale's type
//
// A strip's 64 bytes are 16 lanes of 32 bits, one a column, eight codes each: nibble i of the low word is k = 2i,
// nibble i of the high word is k = 2i + 1. Shifting the words by 4i and looking them up in a table of bf16 values gives
// the pair (2i, 2i+1) that vdpbf16ps takes. Padding (columns past N, k past K) is code 0, scale 0, 8 - zero = 0, offset
// 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "jit/panel_layout.h"
#include "jit/status.h"
#include "src/weight/code_kernels.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

inline constexpr std::size_t kSpareBytes = 64;

// The first 256 bytes, a pure function of the description: bytes are valid exactly when their header equals the one
// that would be written for the description in it.
struct PackedHeader {
  char magic[8];
  std::uint32_t format_version;
  std::uint32_t arithmetic_version;
  std::uint64_t n;
  std::uint64_t k;
  std::uint64_t group_size;  // 0 = per-channel
  std::uint32_t scale_type;
  std::uint32_t zero_kind;
  float table[16];
  std::uint64_t panels_offset;
  std::uint64_t panel_bytes;
  std::uint64_t total_bytes;
  std::uint8_t reserved[256 - 144];
  std::uint64_t checksum;  // FNV-1a of the bytes before it

  std::size_t panels() const { return (n + kPanelColumns - 1) / kPanelColumns; }
  std::size_t group() const { return group_size == 0 || group_size > k ? k : group_size; }
  std::size_t groups() const { return (k + group() - 1) / group(); }
  zenwoq_dtype scale() const { return static_cast<zenwoq_dtype>(scale_type); }
  zenwoq_zero_kind zero() const { return static_cast<zenwoq_zero_kind>(zero_kind); }
  std::size_t zero_bytes() const {
    return zero_kind == ZENWOQ_ZERO_NONE ? 0 : zero_kind == ZENWOQ_ZERO_INTEGER ? 1 : scale_bytes();
  }
  std::size_t scale_bytes() const { return scale_type == ZENWOQ_F32 ? 4 : 2; }
  PanelLayout layout() const { return {k, group(), scale_bytes(), zero_bytes()}; }
};
static_assert(sizeof(PackedHeader) == 256);

// A packed weight in memory: the validated header (a copy, so that nobody changes it under us) and where its bytes are.
struct PackedView {
  PackedHeader header;
  const std::uint8_t* base;

  const std::uint8_t* panel(std::size_t i) const { return base + header.panels_offset + i * header.panel_bytes; }
};

// The header for a description. Errors: INVALID_ARGUMENT, OVERFLOW.
Status make_header(const zenwoq_weight_desc& desc, PackedHeader* header);
zenwoq_weight_desc description(const PackedHeader& header);

// "int4 sym per-group 128, scale bf16"
std::string weight_text(const PackedHeader& header);

// Checks hostile bytes; reads at most `bytes`. Errors: BAD_PACKED.
Status open_packed(const void* packed, std::size_t bytes, PackedView* view);

// Checks that every array of `source` is there and large enough. Errors: INVALID_ARGUMENT, OVERFLOW, BUFFER_TOO_SMALL.
Status check_source(const PackedHeader& header, const zenwoq_weight_source& source);

// Packs panels [begin, end) of a checked source; the range that starts at 0 writes the header. False: a value of the
// source cannot be, which source_error names; then the panels are unspecified. Neither allocates nor throws.
bool pack_panels(const PackedHeader& header, const zenwoq_weight_source& source, std::size_t begin, std::size_t end,
                 std::uint8_t* packed, const CodeKernels& kernels);

// The first value that cannot be in panels [begin, end): by panel, then codes, scales, zeros, then row, then k or
// group.
Status source_error(const PackedHeader& header, const zenwoq_weight_source& source, std::size_t begin, std::size_t end);

// Both for rows [n_begin, n_end), whole panels. Errors: INVALID_ARGUMENT for values that cannot be.
Status pack_rows(const PackedHeader& header, const zenwoq_weight_source& source, std::size_t n_begin, std::size_t n_end,
                 std::uint8_t* packed, const CodeKernels& kernels = code_kernels());

// The inverse: what was packed comes back exactly. Null pointers are left out.
void unpack(const PackedView& view, std::uint8_t* codes, std::uint8_t* scales, std::uint8_t* zeros,
            const CodeKernels& kernels = code_kernels());

// Rows [n_begin, n_end) of W in f32, one rounding a value.
void dequantize(const PackedView& view, std::size_t n_begin, std::size_t n_end, float* values,
                const CodeKernels& kernels = code_kernels());

}  // namespace zenwoq
