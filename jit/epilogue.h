// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What the walks give to a long epilogue: where a row of a strip and the matrices that it reads are.
#pragma once

#include <array>

#include "jit/emitter.h"
#include "jit/gemm_args.h"
#include "jit/key.h"

namespace zenwoq {

// One register for each matrix that an epilogue may read.
struct OperandRegisters {
  Xbyak::Reg64 factor, residual[2];
};

// One row's 16 columns of a strip. "up" is of gated tiles.
struct EpilogueRow {
  Xbyak::RegExp total, up_total;                // 16 f32 in memory
  Xbyak::RegExp tensor_scale, up_tensor_scale;  // as many copies as the tier asked for
  Xbyak::RegExp bias_slot, up_bias_slot;        // that hold the address of the unit's first value
  std::uint32_t bias_bytes;                     // from there to the strip's
  Xbyak::RegExp y;
  OperandRegisters operands;
  std::uint32_t operand_bytes = 0;  // from there to the strip's first column
  Xbyak::Reg64 columns;             // that exist, 1..16
  Xbyak::Reg64 count, temp;         // free
  Xbyak::RegExp stage;              // on the stack, where the tier asked for it
};

// The walk of the matrices that an epilogue reads, beside that of y. Their addresses and row lengths are on the stack.
class EpilogueOperands {
 public:
  // first_slot: bytes from rsp to slot_bytes that are its own.
  EpilogueOperands(Emitter& emitter, const KernelKey& key, std::uint32_t first_slot, const OperandRegisters& registers);
  static std::uint32_t slot_bytes(const Epilogue& epilogue) { return count(epilogue) * kSlotBytes; }

  const OperandRegisters& registers() const { return registers_; }
  void load_arguments(const Xbyak::Reg64& args, const Xbyak::Reg64& temp);
  // Asks for what a unit will read: rows that are powers of two apart share few places of the L1 cache, and no hardware
  // prefetcher follows them. clobbers: registers.
  void prefetch_unit(std::uint32_t rows, std::uint32_t columns);
  void begin_strip(std::uint32_t column);  // of the unit. out: registers, at the first row
  void next_row();
  void next_unit(std::uint32_t columns);

 private:
  struct Operand {
    Xbyak::Reg64 at;
    std::size_t data, row_bytes;  // in GemmArgs
    std::uint32_t slot;           // of the address, then of the bytes from one row to the next
  };
  static constexpr std::uint32_t kSlotBytes = 16;
  static std::uint32_t count(const Epilogue& epilogue) { return (epilogue.factor ? 1u : 0u) + epilogue.residuals; }

  Emitter& e_;
  const OperandRegisters registers_;
  const std::uint32_t element_bytes_;
  std::array<Operand, 3> operands_;
  std::uint32_t count_ = 0;
};

}  // namespace zenwoq
