// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The walk of every kernel over one block of rows times consecutive panels. It knows no instruction set:
//
//   y[r,n] = epilogue of  sum over groups g of  scale[g,n] * (sum over k in g of x[r,k] * t[n,k]  + zero term)
//
//   for each unit (one tile's strips, over all of K; units walk the columns; where a tile has more columns than sums
//                 fit the registers, in several passes over K; of a gated tile, gate's strips and then up's: of one
//                 row and whole panels, which come from memory, a few panels of gate and then as many of up)
//     for each group of k          sums = +0
//       for each step of 8 k         sums += x * t          multiply_step: the data path of a tier decodes and
//       multiplies
//                                  totals += scale * sums   flush_group
//     y = epilogue(totals)                                  store_row
//
// Operands: GemmArgs (gemm_args.h), panels as in panel_layout.h. A tier is a subclass with a data path.
#pragma once

#include <optional>
#include <vector>

#include "jit/emitter.h"
#include "jit/epilogue.h"
#include "jit/gemm_args.h"
#include "jit/key.h"

namespace zenwoq {

// Row 0..5 of a matrix whose rows are ldx bytes apart; ldx3 and ldx5 hold three and five times that.
Xbyak::RegExp row_address(const Xbyak::RegExp& base, std::uint32_t row, const Xbyak::Reg64& ldx,
                          const Xbyak::Reg64& ldx3, const Xbyak::Reg64& ldx5);

class Gemm : public Emitter {
 public:
  std::size_t generate();  // bytes emitted; throws Xbyak::Error if they exceed the buffer

  static constexpr std::uint64_t kMaxK = std::uint64_t{1} << 21;  // what 32-bit displacements reach, f32 zeros and all
  // What no data path of this walk can do; empty if there is nothing.
  static std::string why_not(const KernelKey& key);

 protected:
  // What the walk must know of a data path.
  struct Path {
    std::uint32_t x_bytes;            // of one activation in memory
    std::uint32_t products_per_step;  // multiply instructions of one step: bounds how far steps are unrolled
    bool totals_in_memory;            // on the stack, 16 f32 per row and strip, not in registers
    std::uint32_t stage_bytes = 0;    // on the stack, for the epilogue
    bool x_completed = false;         // rows of x are completed with +0 to a multiple of 8: no step is partial
    std::uint32_t passes = 1;         // walks over K that a unit takes: more than one needs totals_in_memory
    std::uint32_t tensor_scales = 1;  // copies of the tensor scale, side by side on the stack
  };
  Gemm(const KernelKey& key, const Path& path, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes);

  // The data path. in: all registers of the walk; clobbers none of them but temp, unless it says so.
  // rdi has the arguments. load_table comes before the walk takes its own; from keep_arguments on rdi is the path's.
  virtual void load_table() {}
  virtual void keep_arguments() {}
  virtual void load_x_tail(
      std::uint64_t k) = 0;                  // activations k .. K - 1 of each row to x_tail_address, unless completed
  virtual void begin_pass(std::uint32_t) {}  // the operations below are of this pass' columns, but for zero_totals
  virtual void zero_totals() = 0;
  virtual void zero_sums() = 0;
  // 16 f16 of a strip at `from`, widened, to the stack at `to`. clobbers: what flush_group does.
  virtual void widen_f16(const Xbyak::RegExp& from, const Xbyak::RegExp& to) = 0;
  virtual void multiply_step(std::uint32_t step, bool x_from_tail) = 0;  // `step` steps ahead of the pointers
  virtual void flush_group() = 0;                                        // codes is past the group's last step
  virtual void begin_strip(std::uint32_t strip, const Xbyak::Reg64& columns) = 0;  // columns: that exist, 1..16
  virtual void store_row(std::uint32_t row, std::uint32_t strip, const Xbyak::RegExp& y) = 0;
  // Of long epilogues, which all start from memory: at the end of a weight's walk its totals go to `to`, 64 bytes a
  // row and strip, unless they are where they stay; then, for each strip of y and after begin_strip, each row. Both may
  // use all vector registers but those of load_table.
  virtual void spill_totals(const Xbyak::RegExp& to) = 0;
  virtual void finish_row(const EpilogueRow& row) = 0;

  // General registers, one role each. rdi has the arguments, then what keep_arguments made of it.
  struct Registers {
    Xbyak::Reg64 x_low, x_high;    // rows 0..5 and 6..11 at the current k
    Xbyak::Reg64 ldx, ldx3, ldx5;  // bytes: 1, 3, 5 rows
    Xbyak::Reg64 codes;            // strip 0 of this unit at the current step; between groups, at the scales
    Xbyak::Reg64 scales,
        zeros;          // bytes from codes, between groups, to the unit's first scale and zero (see begin_walk)
    Xbyak::Reg64 xsum;  // row 0, current group
    Xbyak::Reg64 steps, groups;  // loop counters; while a unit is stored: a row of y, columns that exist
    Xbyak::Reg64 strip_offset;   // bytes into a panel's step: which strips this unit takes
    Xbyak::Reg64 temp;
  };

  // k: within the step, in 0..7. from_tail: the row's copy on the stack, completed with +0.
  Xbyak::RegExp x_address(std::uint32_t row, std::uint32_t step, std::uint32_t k, bool from_tail) const;
  Xbyak::RegExp x_tail_address(std::uint32_t row) const;
  Xbyak::RegExp code_address(std::uint32_t step, std::uint32_t strip) const;
  Xbyak::RegExp parameter_address(const Xbyak::Reg64& from, std::uint32_t element_bytes, std::uint32_t strip) const;
  Xbyak::RegExp total_address(std::uint32_t row, std::uint32_t strip) const;
  // 16 f32 that scales (or offsets) of two levels are multiplied with, of the current eight groups.
  Xbyak::RegExp super_address(bool offsets, std::uint32_t strip) const;
  Xbyak::RegExp tensor_scale_address(bool up = false) const { return local(local_.tensor_scale + (up ? 64 : 0)); }
  Xbyak::RegExp stage_address() const { return local(local_.stage); }
  Xbyak::RegExp xsum_address(std::uint32_t row) const { return r_.xsum + row * 4; }
  void load_x_address(const Xbyak::Reg64& to);     // of row 0
  void load_bias_address(const Xbyak::Reg64& to);  // of this unit's first column
  // Asks for the codes that a strip of the tile will need some steps later, where the key says so.
  void prefetch_codes(std::uint32_t step, std::uint32_t strip, std::uint32_t lines);

  const KernelKey key_;
  const Registers r_;

 private:
  // 64-byte aligned locals on the stack, from rsp.
  struct Locals {
    std::uint32_t totals, kept_totals, stage, super_scales, super_offsets, tensor_scale, x_tail, x, panel, xsum,
        xsum_bytes, bias, y, ldy_bytes, columns, up, up_bias, operands, bytes;
    std::uint32_t first_panel, columns_left, kept;  // of a run: where it begins; what is walked, in bytes of totals
  };
  // One stretch of k that ends in a flush: whole steps, then perhaps a last step with fewer than 8 k.
  struct Group {
    std::uint64_t steps;
    bool partial;
  };

  static constexpr std::uint32_t kTotalBytes = 64;                                               // per row and strip
  std::uint32_t total_bytes() const { return key_.tile.rows * key_.tile.strips * kTotalBytes; }  // of a weight
  std::uint32_t kept_bytes() const { return 2 * total_bytes(); }  // of a panel of a run, gate's and up's
  bool has_tail() const { return key_.k % kStepK != 0 && !path_.x_completed; }
  void load_arguments();
  void load_tail();
  void walk_weight();
  void walk_run();
  void begin_weight();
  void begin_walk();
  void all_groups();
  void begin_super();
  void load_supers(const Xbyak::RegExp& from, std::uint32_t to);
  void one_group(const Group& group);
  void multiply_steps(std::uint64_t count);
  void advance_k(std::uint64_t steps);
  void prefetch_parameters();
  void prefetch(const Xbyak::RegExp& now, std::uint32_t line);
  void next_group();
  void store_run();
  void store_unit();
  void store_strip(std::uint32_t strip);
  void finish_strip(std::uint32_t strip);
  void next_unit();
  Xbyak::RegExp local(std::uint32_t offset) const { return rsp + offset; }

  const Path path_;
  const std::uint32_t run_panels_;  // of a gated tile's weights, walked before the other's; 1: they change unit by unit
  const PanelLayout layout_;
  Locals local_{};
  bool up_ = false;  // what is emitted is of the second weight
  std::optional<EpilogueOperands> operands_;
};

}  // namespace zenwoq
