// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The packed weight: self-describing bytes that kernels of every tier read.
//
//   [header 256][N/64 panels][permutation][factors of x][64 spare]     all of it 64-byte aligned
//   panel   for each group (panel_layout.h): codes [g/8 steps][4 strips][64 bytes],
//           scales [64 columns] in their own type, zeros [64 columns]: int8 of 8 - zero; or zero points that are
//           fractions, or offsets, in their own type; columns padded to panels of 64
//   permutation [K] u32, of a permuted weight: place j of the codes is column permutation[j] of the matrix and of x
//   factors     [K] f32, by column of x
//
// A strip's 64 bytes are 16 lanes of 32 bits, one a column, eight codes each: nibble i of the low word is k = 2i,
// nibble i of the high word is k = 2i + 1. Shifting the words by 4i and looking them up in a table of bf16 values gives
// the pair (2i, 2i+1) that vdpbf16ps takes. Padding (columns past N, k past K) is code 0, scale 0, 8 - zero = 0, all
// others 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "jit/status.h"
#include "src/weight/code_kernels.h"
#include "src/weight/quantization.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

inline constexpr std::size_t kSpareBytes = 64;

// What the header of packed bytes says: the weight, and how its bytes are laid out.
struct PackedHeader : Quantization {
  std::uint64_t panel_bytes = 0;
  std::uint64_t permutation_at = 0;  // bytes from the header's first; where there is none, what follows it
  std::uint64_t x_scale_at = 0;
  std::uint64_t total_bytes = 0;
};

inline constexpr std::size_t kHeaderBytes = 256;

// A packed weight in memory: what its header says (a copy, so that nobody changes it under us) and where its bytes are.
struct PackedView {
  PackedHeader header;
  const std::uint8_t* base;

  const std::uint8_t* panel(std::size_t i) const { return base + kHeaderBytes + i * header.panel_bytes; }
  // Of any alignment; NULL if there is none. Entries of the permutation are below K when the bytes are opened; whoever
  // follows them takes care, since bytes that are mapped may change.
  const std::uint8_t* permutation() const { return header.permuted ? base + header.permutation_at : nullptr; }
  const std::uint8_t* x_scale() const { return header.x_scaled ? base + header.x_scale_at : nullptr; }
};

// Whether two weights have the same permutation, or factors: none, or equal bytes.
inline bool same_array(const std::uint8_t* a, const std::uint8_t* b, std::size_t bytes) {
  return a == b || (a != nullptr && b != nullptr && std::memcmp(a, b, bytes) == 0);
}

// The header for a description. Errors: INVALID_ARGUMENT, OVERFLOW.
Status make_header(const zenwoq_weight_desc& desc, PackedHeader* header);

// Its kHeaderBytes bytes, a pure function of the description: packed bytes are valid exactly when they begin with the
// bytes that would be written for the description in them.
void write_header(const PackedHeader& header, std::uint8_t* packed);

// Checks hostile bytes; reads at most `bytes`. Errors: BAD_PACKED.
Status open_packed(const void* packed, std::size_t bytes, PackedView* view);

// Places in which the columns of a group lie side by side: a stable sort by group. *permuted: 0 if they lie so already.
// Errors: INVALID_ARGUMENT for a group that is no group, or has not the columns that `group` says.
Status fill_permutation(std::span<const std::int32_t> g_idx, std::size_t group, std::span<std::uint32_t> permutation,
                        std::uint32_t* permuted);

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

// Where unpacked arrays go; null pointers are left out.
struct UnpackedArrays {
  std::uint8_t* codes = nullptr;   // [N, ceil(K/2)] nibbles, columns in the source's order
  std::uint8_t* scales = nullptr;  // [N,G]
  std::uint8_t* zeros = nullptr;
  std::uint8_t* super_scales = nullptr;  // [N,G/8] f16
  std::uint8_t* super_offsets = nullptr;
};

// The inverse: what was packed comes back exactly.
void unpack(const PackedView& view, const UnpackedArrays& arrays, const CodeKernels& kernels = code_kernels());

// Rows [n_begin, n_end) of W in f32, one rounding a value.
void dequantize(const PackedView& view, std::size_t n_begin, std::size_t n_end, float* values,
                const CodeKernels& kernels = code_kernels());

// Whether two weights can have one kernel: all but shape, permutation, factors and the tensor scale's value.
bool quantized_alike(const PackedHeader& a, const PackedHeader& b);

// Rows that are whole panels, or end at n. Errors: INVALID_ARGUMENT.
Status check_rows(const PackedHeader& header, std::size_t n_begin, std::size_t n_end);

// Part of a weight: some of its rows, and of their columns.
struct WeightRange {
  std::size_t n_begin, n_end, k_begin, k_end;
};

// The header of a part. Errors: INVALID_ARGUMENT for a range that is no weight of its own.
Status slice_header(const PackedHeader& header, const WeightRange& range, PackedHeader* part);

// Copies a part to the packed bytes that packing its source would give.
void slice(const PackedView& view, const WeightRange& range, const PackedHeader& part, std::uint8_t* packed);

// Makes rows of writable packed bytes a weight where they lie, all columns of it, and returns its first byte. Its
// header takes the place of the end of the panel before, its permutation and factors that of the panels behind; the
// given bytes are no weight any longer.
std::uint8_t* cut(const PackedHeader& header, const WeightRange& rows, const PackedHeader& part, std::uint8_t* packed);

// The header of weights one below the other, at least one. Errors: INVALID_ARGUMENT, OVERFLOW; they name the weight.
Status join_header(std::span<const PackedView* const> views, PackedHeader* joined);

// The packed bytes that packing all of their rows would give.
void join(std::span<const PackedView* const> views, const PackedHeader& joined, std::uint8_t* packed);

}  // namespace zenwoq
