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

#include "jit/status.h"
#include "src/weight/code_kernels.h"
#include "src/weight/quantization.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

inline constexpr std::size_t kSpareBytes = 64;

// What the header of packed bytes says: the weight, and how its bytes are laid out.
struct PackedHeader : Quantization {
  std::uint64_t panel_bytes = 0;
  std::uint64_t total_bytes = 0;
};

inline constexpr std::size_t kHeaderBytes = 256;

// A packed weight in memory: what its header says (a copy, so that nobody changes it under us) and where its bytes are.
struct PackedView {
  PackedHeader header;
  const std::uint8_t* base;

  const std::uint8_t* panel(std::size_t i) const { return base + kHeaderBytes + i * header.panel_bytes; }
};

// The header for a description. Errors: INVALID_ARGUMENT, OVERFLOW.
Status make_header(const zenwoq_weight_desc& desc, PackedHeader* header);

// Its kHeaderBytes bytes, a pure function of the description: packed bytes are valid exactly when they begin with the
// bytes that would be written for the description in them.
void write_header(const PackedHeader& header, std::uint8_t* packed);

// Checks hostile bytes; reads at most `bytes`. Errors: BAD_PACKED.
Status open_packed(const void* packed, std::size_t bytes, PackedView* view);

// Checks that every array of `source` is there and large enough. Errors: INVALID_ARGUMENT, OVERFLOW, BUFFER_TOO_SMALL.
Status check_source(const PackedHeader& header, const zenwoq_weight_source& source);

// Packs panels [begin, end) of a checked source; the range that starts at 0 writes the header. Returns false if the
// source holds an impossible value; source_error() says which, and the panels are unspecified. Neither allocates nor
// throws.
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
