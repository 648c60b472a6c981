// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Rules for emitted code that can be checked without running it.

#include <algorithm>
#include <cstdio>
#include <limits>

#include "tests/emulator/emulator.h"
#include "tests/emulator/operation.h"

namespace zenwoq::emulator {
namespace {

// What a Zen 4 has and a kernel may use. VBMI is left out on purpose: kernels are to stay within this list.
constexpr ZydisISASet kAllowed[] = {
    ZYDIS_ISA_SET_I86,
    ZYDIS_ISA_SET_I186,
    ZYDIS_ISA_SET_I386,
    ZYDIS_ISA_SET_I486,
    ZYDIS_ISA_SET_PPRO,
    ZYDIS_ISA_SET_LONGMODE,
    ZYDIS_ISA_SET_CMOV,
    ZYDIS_ISA_SET_FAT_NOP,
    ZYDIS_ISA_SET_CET,
    ZYDIS_ISA_SET_SSEMXCSR,
    ZYDIS_ISA_SET_SSE_PREFETCH,
    ZYDIS_ISA_SET_BMI1,
    ZYDIS_ISA_SET_BMI2,
    ZYDIS_ISA_SET_AVX,
    ZYDIS_ISA_SET_AVX2,
    ZYDIS_ISA_SET_FMA,
    ZYDIS_ISA_SET_F16C,
    ZYDIS_ISA_SET_AVX512F_128,
    ZYDIS_ISA_SET_AVX512F_128N,
    ZYDIS_ISA_SET_AVX512F_256,
    ZYDIS_ISA_SET_AVX512F_512,
    ZYDIS_ISA_SET_AVX512F_KOP,
    ZYDIS_ISA_SET_AVX512F_SCALAR,
    ZYDIS_ISA_SET_AVX512BW_128,
    ZYDIS_ISA_SET_AVX512BW_128N,
    ZYDIS_ISA_SET_AVX512BW_256,
    ZYDIS_ISA_SET_AVX512BW_512,
    ZYDIS_ISA_SET_AVX512BW_KOP,
    ZYDIS_ISA_SET_AVX512DQ_128,
    ZYDIS_ISA_SET_AVX512DQ_128N,
    ZYDIS_ISA_SET_AVX512DQ_256,
    ZYDIS_ISA_SET_AVX512DQ_512,
    ZYDIS_ISA_SET_AVX512DQ_KOP,
    ZYDIS_ISA_SET_AVX512DQ_SCALAR,
    ZYDIS_ISA_SET_AVX512_BF16_128,
    ZYDIS_ISA_SET_AVX512_BF16_256,
    ZYDIS_ISA_SET_AVX512_BF16_512,
};

// Leave the function or the user's mode, or hide a target from this check.
constexpr ZydisMnemonic kForbidden[] = {
    ZYDIS_MNEMONIC_CALL, ZYDIS_MNEMONIC_SYSCALL, ZYDIS_MNEMONIC_SYSENTER, ZYDIS_MNEMONIC_INT,
    ZYDIS_MNEMONIC_INT1, ZYDIS_MNEMONIC_INT3,    ZYDIS_MNEMONIC_UD2,      ZYDIS_MNEMONIC_HLT,
    ZYDIS_MNEMONIC_STD,  ZYDIS_MNEMONIC_CLD,     ZYDIS_MNEMONIC_POPFQ,
};

// What may stand between vzeroupper and ret. Arithmetic is for `add rsp, n` alone.
constexpr ZydisMnemonic kEpilogue[] = {
    ZYDIS_MNEMONIC_POP, ZYDIS_MNEMONIC_LEAVE, ZYDIS_MNEMONIC_MOV,     ZYDIS_MNEMONIC_NOP,
    ZYDIS_MNEMONIC_ADD, ZYDIS_MNEMONIC_LEA,   ZYDIS_MNEMONIC_LDMXCSR, ZYDIS_MNEMONIC_VLDMXCSR,
};

template <class Table, class Value>
bool holds(const Table& table, Value value) {
  return std::find(std::begin(table), std::end(table), value) != std::end(table);
}

class Verifier {
 public:
  Verifier(const Program& program, std::vector<std::string>& problems) : program_(program), problems_(problems) {
    ZydisDecoderInit(&zydis_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  }

  void verify();

 private:
  struct Decoded {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  };

  Decoded decode(const Op& op) const;
  void verify_begin();
  void verify_one(const Op& op);
  void verify_masked_shuffle(const Op& op, const Decoded& decoded);
  void verify_immediate(const Op& op, const Decoded& decoded);
  void verify_return(std::size_t index);
  bool uses_upper_state() const;
  bool is_branch_target(std::size_t index) const;
  bool is_epilogue(const Decoded& decoded) const;
  void report(const Op& op, const std::string& what);

  const Program& program_;
  std::vector<std::string>& problems_;
  ZydisDecoder zydis_;
};

Verifier::Decoded Verifier::decode(const Op& op) const {
  Decoded decoded{};
  ZydisDecoderDecodeFull(&zydis_, program_.code().data() + op.offset, op.length, &decoded.instruction,
                         decoded.operands);
  return decoded;
}

void Verifier::report(const Op& op, const std::string& what) {
  char place[32];
  std::snprintf(place, sizeof place, "+0x%x `", op.offset);
  problems_.push_back(place + program_.text(op.offset) + "`: " + what);
}

void Verifier::verify() {
  verify_begin();
  const bool needs_zero_upper = uses_upper_state();
  for (std::size_t i = 0; i < program_.ops().size(); ++i) {
    const Op& op = program_.ops()[i];
    verify_one(op);
    if (needs_zero_upper && decode(op).instruction.mnemonic == ZYDIS_MNEMONIC_RET) verify_return(i);
  }
}

void Verifier::verify_begin() {
  const Op& first = program_.ops().front();
  if (decode(first).instruction.mnemonic != ZYDIS_MNEMONIC_ENDBR64) {
    report(first, "the first instruction is not endbr64");
  }
}

void Verifier::verify_one(const Op& op) {
  const Decoded decoded = decode(op);
  const ZydisDecodedInstruction& instruction = decoded.instruction;
  if (!holds(kAllowed, instruction.meta.isa_set)) {
    report(op, std::string("instruction set ") + ZydisISASetGetString(instruction.meta.isa_set) + " is not allowed");
  }
  if (holds(kForbidden, instruction.mnemonic)) report(op, "this instruction is not allowed");
  const bool indirect =
      instruction.mnemonic == ZYDIS_MNEMONIC_JMP && decoded.operands[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE;
  if (indirect) report(op, "an indirect branch may leave the code");
  // Else no test on an ordinary host could run it.
  if (!is_known(op)) report(op, "not known to the emulator");
  verify_masked_shuffle(op, decoded);
  verify_immediate(op, decoded);
}

// These two fault on masked-off bytes too (reliability.md), so a tail must not rely on their mask.
void Verifier::verify_masked_shuffle(const Op& op, const Decoded& decoded) {
  const ZydisMnemonic mnemonic = decoded.instruction.mnemonic;
  if (mnemonic != ZYDIS_MNEMONIC_VPERMB && mnemonic != ZYDIS_MNEMONIC_VPSHUFB) return;
  const bool masked = decoded.instruction.avx.mask.mode >= ZYDIS_MASK_MODE_MERGING;
  for (std::size_t i = 0; i < decoded.instruction.operand_count; ++i) {
    if (masked && decoded.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) {
      report(op, "masked byte shuffle with a memory operand");
    }
  }
}

// An emitted address would make the bytes depend on the process that emitted them.
void Verifier::verify_immediate(const Op& op, const Decoded& decoded) {
  const auto& immediate = decoded.instruction.raw.imm[0];
  if (immediate.size != 64) return;
  const std::int64_t value = immediate.value.s;
  if (value >= std::numeric_limits<std::int32_t>::min() &&
      value <= static_cast<std::int64_t>(std::numeric_limits<std::uint32_t>::max())) {
    return;
  }
  report(op, "a 64-bit immediate may be an address");
}

bool Verifier::uses_upper_state() const {
  return std::any_of(program_.ops().begin(), program_.ops().end(), [&](const Op& op) {
    const Decoded decoded = decode(op);
    return std::any_of(decoded.operands, decoded.operands + decoded.instruction.operand_count,
                       [](const ZydisDecodedOperand& operand) {
                         if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) return false;
                         const auto kind = ZydisRegisterGetClass(operand.reg.value);
                         return kind == ZYDIS_REGCLASS_YMM || kind == ZYDIS_REGCLASS_ZMM;
                       });
  });
}

bool Verifier::is_branch_target(std::size_t index) const {
  return std::any_of(program_.ops().begin(), program_.ops().end(), [&](const Op& op) {
    const auto decoded = decode(op);
    return decoded.instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE &&
           decoded.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && op.target == index;
  });
}

bool Verifier::is_epilogue(const Decoded& decoded) const {
  const ZydisMnemonic mnemonic = decoded.instruction.mnemonic;
  if (mnemonic == ZYDIS_MNEMONIC_ADD || mnemonic == ZYDIS_MNEMONIC_LEA) {
    return decoded.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
           decoded.operands[0].reg.value == ZYDIS_REGISTER_RSP;
  }
  return holds(kEpilogue, mnemonic);
}

// Walks back from ret to vzeroupper; a jump that lands between the two would go around it.
void Verifier::verify_return(std::size_t index) {
  const std::vector<Op>& ops = program_.ops();
  for (std::size_t i = index; i > 0; --i) {
    if (is_branch_target(i)) return report(ops[index], "a branch reaches this ret past vzeroupper");
    const Op& before = ops[i - 1];
    if (before.offset + before.length != ops[i].offset) break;
    const Decoded decoded = decode(before);
    if (decoded.instruction.mnemonic == ZYDIS_MNEMONIC_VZEROUPPER) return;
    if (!is_epilogue(decoded)) break;
  }
  report(ops[index], "no vzeroupper right before this ret");
}

}  // namespace

bool verify_static(const Program& program, std::vector<std::string>* problems) {
  const std::size_t before = problems->size();
  Verifier(program, *problems).verify();
  return problems->size() == before;
}

}  // namespace zenwoq::emulator
