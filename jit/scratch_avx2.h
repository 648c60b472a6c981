// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// AVX2 and FMA for many rows: two strips of up to 128 k are decoded once to f32 in scratch memory on the stack, where
// they stay in the L1 cache while all rows are multiplied with them, a tile of at most 6 rows x 16 columns at a time.
//
//   for each panel, for each two strips of it
//     totals = +0                              [row][strip][16] on the stack
//     for each segment: at most 16 steps of 8 k, never across groups
//       scratch = decoded codes                [strip][k][16]
//       for each tile of rows, for each strip
//         sums = +0, or what waits of an unfinished group;  sums += x * scratch
//         the group ends: totals += scale * sums            else: the sums wait on the stack, unscaled, which is exact
//     y = epilogue(totals)
//
// Idea: decoding costs as much as two rows' products, whatever the number of rows. Segments end with groups, so the
// order of additions, and every bit, is the contract's.
#pragma once

#include <optional>
#include <vector>

#include "jit/decode_avx2.h"
#include "jit/epilogue_avx2.h"
#include "jit/gemm_args.h"
#include "jit/jit.h"
#include "jit/parameters_avx2.h"

namespace zenwoq {

class ScratchAvx2 final : private Emitter {
 public:
  static constexpr std::uint32_t kStrips = 2;  // decoded at a time; of a gated tile one of gate and one of up

  // A line of kernels.cpp; see jit.h.
  static std::string why_not(const KernelKey& key);
  static std::size_t emit(const KernelKey& key, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes);
  static std::vector<RegisterUse> registers(const KernelKey& key);

 private:
  ScratchAvx2(const KernelKey& key, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes);
  std::size_t generate();

  void load_arguments();
  void begin_pair();
  void begin_segment();
  void begin_super();
  void decode_segment();
  void multiply_segment();
  void tiles(std::uint32_t rows, std::uint32_t count_slot);
  void multiply_tile(std::uint32_t rows, std::uint32_t strip);
  void multiply_steps(std::uint32_t rows, std::uint32_t strip);
  void flush_tile(std::uint32_t rows, std::uint32_t strip);
  void end_segment();
  void store_pair();
  void store_tiles(std::uint32_t rows, std::uint32_t count_slot);
  void next_pair();

  // Registers. ymm0 .. 11: sums of a tile; 12, 13: weights; 14, 15: x. While codes are decoded, all are the decoder's.
  Xbyak::Ymm acc(std::uint32_t row, std::uint32_t half) const { return Xbyak::Ymm(static_cast<int>(2 * row + half)); }
  Xbyak::Ymm weight(std::uint32_t half) const { return Xbyak::Ymm(static_cast<int>(12 + half)); }
  Xbyak::Ymm x(std::uint32_t i) const { return Xbyak::Ymm(static_cast<int>(14 + i % 2)); }
  Xbyak::Ymm scale() const { return weight(0); }
  Xbyak::Ymm zero() const { return weight(1); }
  Xbyak::Ymm xsum() const { return x(0); }

  // General registers, one role each.
  struct Registers {
    Xbyak::Reg64 table;            // the DecodeTable
    Xbyak::Reg64 ldx, ldx3, ldx5;  // bytes: 1, 3, 5 rows
    Xbyak::Reg64 codes;  // the first of the two strips (of the gate) at the current step; kept in a local while tiles
                         // are multiplied, when it is row 0 of the next tile, as x is of this one
    Xbyak::Reg64 scales, zeros;  // of the first strip, once the segment is decoded
    Xbyak::Reg64 x_tile, x;      // a tile's row 0 at the segment's first k, and at the current k
    Xbyak::Reg64 totals, xsum;   // of the tile's row 0
    Xbyak::Reg64 steps, tiles;   // loop counters
    Xbyak::Reg64 temp;
  };
  // Locals on the stack, from rsp.
  struct Locals {
    std::uint32_t scratch, totals, waiting, stage;
    std::uint32_t super_scales, super_offsets, tensor_scale;
    std::uint32_t super_left;  // groups of the current eight
    std::uint32_t x, panel, xsum, xsum_bytes, bias, y, ldy_bytes, columns, tall, low;
    std::uint32_t strip_offset;                 // bytes into a panel's step: where the first strip's codes are
    std::uint32_t x_offset, xsum_now;           // bytes to the segment's first k; sums of the current group
    std::uint32_t k_left, group_left, segment;  // steps
    std::uint32_t codes;
    std::uint32_t up, up_bias, operands;  // of gated tiles: bytes to the same panel of the second weight
    std::uint32_t bytes;
  };
  Xbyak::RegExp local(std::uint32_t offset) const { return rsp + offset; }
  Xbyak::Address slot(std::uint32_t offset) { return qword[rsp + offset]; }
  void set(std::uint32_t to, std::uint32_t from);
  void next_rows(const Xbyak::Reg64& pointer, std::uint32_t rows);
  Xbyak::RegExp row_of(const Xbyak::Reg64& base, std::uint32_t row) const;
  bool has_tensor_scale() const { return key_.epilogue.tensor_scale != ZENWOQ_TENSOR_SCALE_NONE; }
  bool gated() const { return key_.tile.gated; }
  void finish_strip(std::uint32_t strip);
  bool sums_wait() const { return layout_.group_steps() > kSegmentSteps; }

  static constexpr std::uint32_t kSegmentSteps = 16;
  static constexpr std::uint32_t kHalves = 2;  // vectors of 8 columns in a strip
  static constexpr std::uint32_t kHalfBytes = 32;
  static constexpr std::uint32_t kRowBytes = 64;  // 16 f32: of a k in scratch, of a row's totals in a strip

  const KernelKey key_;
  const PanelLayout layout_;
  const Registers r_;
  DecodeAvx2 decode_;
  ParametersAvx2 parameters_;
  EpilogueAvx2 epilogue_;
  Locals local_{};
  std::optional<EpilogueOperands> operands_;
};

}  // namespace zenwoq
