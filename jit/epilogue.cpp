// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
#include "jit/epilogue.h"

#include <span>

#include "jit/number.h"

namespace zenwoq {

EpilogueOperands::EpilogueOperands(Emitter& emitter, const KernelKey& key, std::uint32_t first_slot,
                                   const OperandRegisters& registers)
    : e_(emitter), registers_(registers), element_bytes_(static_cast<std::uint32_t>(dtype_bytes(key.output_type))) {
  const auto add = [&](const Xbyak::Reg64& at, std::size_t data, std::size_t row_bytes) {
    operands_[count_] = {at, data, row_bytes, first_slot + count_ * kSlotBytes};
    ++count_;
  };
  if (key.epilogue.factor) add(registers.factor, offsetof(GemmArgs, factor), offsetof(GemmArgs, factor_bytes));
  for (std::size_t i = 0; i < key.epilogue.residuals; ++i) {
    add(registers.residual[i], offsetof(GemmArgs, residual) + i * 8, offsetof(GemmArgs, residual_bytes) + i * 8);
  }
}

void EpilogueOperands::load_arguments(const Xbyak::Reg64& args, const Xbyak::Reg64& temp) {
  for (const Operand& operand : std::span(operands_.data(), count_)) {
    e_.mov(temp, e_.qword[args + operand.data]);
    e_.mov(e_.qword[e_.rsp + operand.slot], temp);
    e_.mov(temp, e_.qword[args + operand.row_bytes]);
    e_.mov(e_.qword[e_.rsp + operand.slot + 8], temp);
  }
}

void EpilogueOperands::prefetch_unit(std::uint32_t rows, std::uint32_t columns) {
  for (const Operand& operand : std::span(operands_.data(), count_)) {
    e_.mov(operand.at, e_.qword[e_.rsp + operand.slot]);
    for (std::uint32_t row = 0; row < rows; ++row) {
      for (std::uint32_t byte = 0; byte < columns * element_bytes_; byte += 64)
        e_.prefetcht0(e_.ptr[operand.at + byte]);
      if (row + 1 < rows) e_.add(operand.at, e_.qword[e_.rsp + operand.slot + 8]);
    }
  }
}

void EpilogueOperands::begin_strip(std::uint32_t column) {
  for (const Operand& operand : std::span(operands_.data(), count_)) {
    e_.mov(operand.at, e_.qword[e_.rsp + operand.slot]);
    if (column != 0) e_.add(operand.at, column * element_bytes_);
  }
}

void EpilogueOperands::next_row() {
  for (const Operand& operand : std::span(operands_.data(), count_)) {
    e_.add(operand.at, e_.qword[e_.rsp + operand.slot + 8]);
  }
}

void EpilogueOperands::next_unit(std::uint32_t columns) {
  for (const Operand& operand : std::span(operands_.data(), count_)) {
    e_.add(e_.qword[e_.rsp + operand.slot], columns * element_bytes_);
  }
}

}  // namespace zenwoq
