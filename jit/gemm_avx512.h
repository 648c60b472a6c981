// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// bf16 activations x 4-bit weights -> f32 or bf16: one block of rows times a run of panels.
//
//   y[r,n] = sum over groups g of  scale[g,n] * (sum over k in g of x[r,k] * t[n,k]  + zero term)   (+ bias[n])
//
// Operands: GemmArgs (gemm_args.h), panels as in src/weight/packed.h and panel_layout.h. One step is 8 k: for each
// strip of 16 columns 64 bytes of codes, shifted by 0, 4, 8, 12 bits and looked up in a table of 32 bf16 (the 16 values
// twice, so the fifth index bit does not matter and no mask is needed): four vectors of (k, k+1) pairs for vdpbf16ps.
//
// Idea: a 4-bit code needs one permute for 32 weights, and the scale is applied to the f32 sum of a group, not to each
// weight, so weights stay exact and cost nothing per weight.
#pragma once

#include <vector>

#include "jit/emitter.h"
#include "jit/gemm_args.h"
#include "jit/status.h"
#include "jit/vector_map.h"

namespace zenwoq {

// What the grammar can say but no kernel can be: an unknown tile, more registers than there are, displacements that do
// not fit. Empty if the key can be generated.
std::string unsupported_reason(const KernelKey& key);

// Code of a kernel; the same bytes for the same key on every machine. notes may be NULL.
// Errors: UNSUPPORTED with the reason, OUT_OF_MEMORY.
Status emit_gemm(const KernelKey& key, std::vector<std::uint8_t>* code, std::vector<Note>* notes = nullptr);

class GemmAvx512 final : private Emitter {
 public:
  GemmAvx512(const KernelKey& key, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes);
  std::size_t generate();  // bytes emitted; throws Xbyak::Error if they exceed the buffer

 private:
  // General registers, one role each. rdi (arguments) is free once load_arguments is done.
  struct Registers {
    Xbyak::Reg64 x_low, x_high;    // rows 0..5 and 6..11 at the current k
    Xbyak::Reg64 ldx, ldx3, ldx5;  // bytes: 1, 3, 5 rows
    Xbyak::Reg64 codes;            // strip 0 of this unit at the current step; between groups, at the scales
    Xbyak::Reg64 scales, zeros;    // bytes from codes, between groups, to the unit's first scale and zero
    Xbyak::Reg64 xsum;             // row 0, current group
    Xbyak::Reg64 steps, groups;    // loop counters
    Xbyak::Reg64 strip_offset;     // bytes into a panel's step: which strips this unit takes
    Xbyak::Reg64 temp;
  };
  // 64-byte aligned locals on the stack, from rsp.
  struct Locals {
    std::uint32_t totals, x_tail, x, panel, xsum, xsum_bytes, bias, y, ldy_bytes, columns, bytes;
  };
  // One stretch of k that ends in a flush: whole steps, then perhaps a last step with fewer than 8 k.
  struct Group {
    std::uint64_t steps;
    bool partial;
  };

  void load_arguments();
  void load_x_tail();
  void begin_unit();
  void all_groups();
  void one_group(const Group& group);
  void next_unit();

  void multiply_steps(std::uint64_t count);
  void advance_k(std::uint64_t steps);
  void multiply_step(std::uint32_t step, bool x_from_tail);
  void prefetch(const Xbyak::RegExp& now, std::uint32_t line);
  void decode(std::uint32_t step, std::uint32_t strip, std::uint32_t pair, const Xbyak::Zmm& weight);
  void multiply_pair(std::uint32_t step, std::uint32_t pair, bool x_from_tail);
  void flush_group();
  void flush_accumulator(std::uint32_t row, std::uint32_t strip);
  void load_parameters(const Xbyak::Zmm& to, zenwoq_dtype type, const Xbyak::Reg64& from, std::uint32_t strip);
  void load_zeros(std::uint32_t strip);
  void store_unit();
  void store_strip(std::uint32_t strip);

  Xbyak::RegExp x_address(std::uint32_t row, std::uint32_t step, std::uint32_t pair, bool from_tail) const;
  Xbyak::RegExp parameter_address(const Xbyak::Reg64& from, std::uint32_t element_bytes, std::uint32_t strip) const;
  Xbyak::RegExp code_address(std::uint32_t step, std::uint32_t strip) const;
  Xbyak::RegExp local(std::uint32_t offset) const { return rsp + offset; }
  Xbyak::Zmm total_register(std::uint32_t row, std::uint32_t strip) const;
  std::uint32_t total_offset(std::uint32_t row, std::uint32_t strip) const;
  std::uint32_t panels_per_unit() const { return key_.tile.strips > 4 ? 2 : 1; }
  std::uint32_t zero_bytes() const;

  const KernelKey key_;
  const CpuTuning& tuning_;
  const PanelLayout layout_;
  const VectorMap v_;
  const Registers r_;
  Locals local_{};
};

}  // namespace zenwoq
