// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// From what Zydis says about one instruction to an Op.

#include <algorithm>
#include <array>

#include "tests/emulator/operation.h"

namespace zenwoq::emulator {
namespace {

constexpr std::size_t kMnemonics = ZYDIS_MNEMONIC_MAX_VALUE + 1;

std::array<Entry, kMnemonics> build_index() {
  std::array<Entry, kMnemonics> index{};
  for (const auto& table : {control_table(), integer_table(), bit_table(), mask_table(), move_table(), lane_table(),
                            compare_table(), shuffle_table(), permute_table(), float_table(), convert_table()}) {
    for (const Entry& entry : table) index[entry.mnemonic] = entry;
  }
  return index;
}

const Entry& entry_of(ZydisMnemonic mnemonic) {
  static const std::array<Entry, kMnemonics> index = build_index();
  return index[mnemonic];
}

void run_unsupported(Cpu& cpu, const Op&) { cpu.fail("this instruction or form is not known to the emulator"); }

bool is_high_byte(ZydisRegister reg) { return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH; }

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
      if (is_high_byte(reg)) return false;
      out.kind = Kind::gpr;
      out.index = gpr_index(reg);
      return true;
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
  switch (from.type) {
    case ZYDIS_OPERAND_TYPE_REGISTER: return translate_register(from.reg.value, out);
    case ZYDIS_OPERAND_TYPE_MEMORY: out.kind = Kind::memory; return translate_memory(from.mem, instruction_end, op);
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
      out.kind = Kind::immediate;
      op.immediate = from.imm.value.u;
      return true;
    default: return false;
  }
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

void translate_mask(const ZydisDecodedInstructionAvx& avx, Op& op) {
  if (avx.mask.mode < ZYDIS_MASK_MODE_MERGING) return;
  op.mask = static_cast<std::uint8_t>(ZydisRegisterGetId(avx.mask.reg));
  op.zeroing = avx.mask.mode == ZYDIS_MASK_MODE_ZEROING || avx.mask.mode == ZYDIS_MASK_MODE_CONTROL_ZEROING;
}

bool bind(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands, const std::uint8_t* code,
          Op& op) {
  const Entry& entry = entry_of(instruction.mnemonic);
  const bool has_rounding = instruction.avx.has_sae || instruction.avx.rounding.mode != ZYDIS_ROUNDING_MODE_INVALID;
  if (entry.bind == nullptr || has_rounding || instruction.address_width != 64) return false;
  if (!translate_operands(instruction, operands, code + op.offset + instruction.length, op)) return false;
  translate_mask(instruction.avx, op);
  return entry.bind(op, entry);
}

}  // namespace

void translate(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands,
               const std::uint8_t* code, std::uint32_t offset, Op& op) {
  op.offset = offset;
  op.length = instruction.length;
  op.condition = instruction.opcode & 15;
  op.vector_bytes = static_cast<std::uint8_t>(instruction.avx.vector_length / 8);
  if (!bind(instruction, operands, code, op)) op.run = run_unsupported;
}

bool is_known(const Op& op) { return op.run != run_unsupported; }

}  // namespace zenwoq::emulator
