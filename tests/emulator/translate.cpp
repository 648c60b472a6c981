// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Makes an Op of what Zydis says about one instruction.
#include <algorithm>
#include <array>

#include "tests/emulator/operation.h"

namespace zenwoq::emulator {
namespace {

using Index = std::array<Entry, ZYDIS_MNEMONIC_MAX_VALUE + 1>;

Index build_index() {
  Index index{};
  for (const auto& tables : {scalar_tables(), move_tables(), arithmetic_tables()}) {
    for (const Table& table : tables) {
      for (const Entry& entry : table.rows) (index[entry.mnemonic] = entry).needs = table.needs;
    }
  }
  return index;
}

const Entry& entry_of(ZydisMnemonic mnemonic) {
  static const Index index = build_index();
  return index[mnemonic];
}

void run_unsupported(Cpu& cpu, const Op&) { cpu.fail("this instruction or form is not known to the emulator"); }

std::uint8_t gpr_index(ZydisRegister reg) {
  const ZydisRegister full = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
  return static_cast<std::uint8_t>(full - ZYDIS_REGISTER_RAX);
}

bool translate_register(ZydisRegister reg, Operand& out) {
  switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
      out.kind = Kind::gpr;
      out.index = gpr_index(reg);
      return reg < ZYDIS_REGISTER_AH || reg > ZYDIS_REGISTER_BH;
    case ZYDIS_REGCLASS_XMM:
    case ZYDIS_REGCLASS_YMM:
    case ZYDIS_REGCLASS_ZMM:
      out.kind = Kind::vector;
      out.index = static_cast<std::uint8_t>(ZydisRegisterGetId(reg));
      // Zydis gives the bytes that are used, which for scalars is less than the register.
      out.bytes = std::max<std::uint16_t>(out.bytes, 16);
      return true;
    case ZYDIS_REGCLASS_MASK:
      out.kind = Kind::mask;
      out.index = static_cast<std::uint8_t>(ZydisRegisterGetId(reg));
      return true;
    default: return false;
  }
}

bool translate_memory(const ZydisDecodedOperandMem& memory, const std::uint8_t* instruction_end, Op& op) {
  if (memory.type != ZYDIS_MEMOP_TYPE_MEM && memory.type != ZYDIS_MEMOP_TYPE_AGEN) return false;
  if (memory.segment == ZYDIS_REGISTER_FS || memory.segment == ZYDIS_REGISTER_GS) return false;
  op.displacement = memory.disp.has_displacement ? memory.disp.value : 0;
  if (memory.base == ZYDIS_REGISTER_RIP) {
    op.displacement += static_cast<std::int64_t>(reinterpret_cast<std::uint64_t>(instruction_end));
  } else if (memory.base != ZYDIS_REGISTER_NONE) {
    op.base = gpr_index(memory.base);
  }
  if (memory.index != ZYDIS_REGISTER_NONE) {
    op.index = gpr_index(memory.index);
    op.shift = static_cast<std::uint8_t>(__builtin_ctz(memory.scale));
  }
  return true;
}

bool translate_operand(const ZydisDecodedOperand& from, const std::uint8_t* instruction_end, Op& op, Operand& out) {
  out.bytes = static_cast<std::uint16_t>(from.size / 8);
  if (from.type == ZYDIS_OPERAND_TYPE_REGISTER) return translate_register(from.reg.value, out);
  out.kind = from.type == ZYDIS_OPERAND_TYPE_MEMORY ? Kind::memory : Kind::immediate;
  if (out.kind == Kind::memory) return translate_memory(from.mem, instruction_end, op);
  op.immediate = from.imm.value.u;
  return from.type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

bool translate_operands(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands,
                        const std::uint8_t* instruction_end, Op& op) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < instruction.operand_count; ++i) {
    if (operands[i].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) continue;
    if (operands[i].encoding == ZYDIS_OPERAND_ENCODING_MASK) continue;
    if (count == op.operand.size()) return false;
    Operand& out = op.operand[count++];
    if (!translate_operand(operands[i], instruction_end, op, out)) return false;
    op.registers_only &= out.kind == Kind::vector || out.kind == Kind::immediate;
    if (out.kind == Kind::memory && instruction.avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID &&
        !instruction.avx.broadcast.is_static) {
      op.broadcast = static_cast<std::uint8_t>(out.bytes);
    }
  }
  return true;
}

bool bind(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands, const std::uint8_t* code,
          Op& op) {
  const Entry& entry = entry_of(instruction.mnemonic);
  op.needs = entry.needs | (op.evex ? kAvx512 : 0);
  const bool has_rounding = instruction.avx.has_sae || instruction.avx.rounding.mode != ZYDIS_ROUNDING_MODE_INVALID;
  if (entry.bind == nullptr || has_rounding || instruction.address_width != 64) return false;
  if (!translate_operands(instruction, operands, code + op.offset + instruction.length, op)) return false;
  const ZydisMaskMode mode = instruction.avx.mask.mode;
  if (mode >= ZYDIS_MASK_MODE_MERGING)
    op.mask = static_cast<std::uint8_t>(ZydisRegisterGetId(instruction.avx.mask.reg));
  op.zeroing = mode == ZYDIS_MASK_MODE_ZEROING;
  return entry.bind(op, entry);
}

}  // namespace

void translate(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands,
               const std::uint8_t* code, std::uint32_t offset, Op& op) {
  op.offset = offset;
  op.length = instruction.length;
  op.mnemonic = instruction.mnemonic;
  op.condition = instruction.opcode & 15;
  op.evex = instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
  op.vector_bytes = static_cast<std::uint8_t>(instruction.avx.vector_length / 8);
  if (!bind(instruction, operands, code, op)) op.run = run_unsupported;
}

bool is_known(const Op& op) { return op.run != run_unsupported; }

}  // namespace zenwoq::emulator
