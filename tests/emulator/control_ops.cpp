// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Branches, the stack, MXCSR, vzeroupper and what does nothing.

#include <cstring>

#include "tests/emulator/scalar.h"

namespace zenwoq::emulator {
namespace {

void run_nothing(Cpu&, const Op&) {}

// An immediate first operand is a relative target, which translate() and link() resolved.
bool bind_direct(Op& op, const Entry& entry) {
  op.run = entry.run;
  return op.operand[0].kind == Kind::immediate;
}

void run_jump(Cpu& cpu, const Op& op) { cpu.pc = op.target; }

void run_jump_if(Cpu& cpu, const Op& op) {
  if (condition_holds(cpu.flags, op.condition)) cpu.pc = op.target;
}

void push(Cpu& cpu, std::uint64_t value) {
  cpu.gpr[kRsp] -= sizeof value;
  std::memcpy(cpu.writable(cpu.gpr[kRsp], sizeof value), &value, sizeof value);
}

std::uint64_t pop(Cpu& cpu) {
  std::uint64_t value;
  std::memcpy(&value, cpu.readable(cpu.gpr[kRsp], sizeof value), sizeof value);
  cpu.gpr[kRsp] += sizeof value;
  return value;
}

void run_push(Cpu& cpu, const Op& op) { push(cpu, get<std::uint64_t>(cpu, op, 0)); }
void run_pop(Cpu& cpu, const Op& op) { put<std::uint64_t>(cpu, op, 0, pop(cpu)); }

bool bind_stack(Op& op, const Entry& entry) {
  op.run = entry.run;
  return op.operand[0].kind == Kind::immediate || op.operand[0].bytes == 8;
}

void run_leave(Cpu& cpu, const Op&) {
  cpu.gpr[kRsp] = cpu.gpr[kRbp];
  cpu.gpr[kRbp] = pop(cpu);
}

void run_return(Cpu& cpu, const Op&) {
  const bool at_entry_level = cpu.gpr[kRsp] == cpu.entry_rsp;
  const std::uint64_t address = pop(cpu);
  if (!at_entry_level) {
    cpu.fail("rsp at ret is not what it was on entry");
  } else if (address != kReturnAddress) {
    cpu.fail("the return address was overwritten");
  }
  cpu.stop = true;
}

bool bind_return(Op& op, const Entry& entry) {
  op.run = entry.run;
  return op.operand[0].kind == Kind::none;  // `ret imm16` is not for this calling convention
}

void run_load_mxcsr(Cpu& cpu, const Op& op) {
  const auto value = get<std::uint32_t>(cpu, op, 0);
  if (value > 0xFFFF) return cpu.fail("a reserved bit of MXCSR would be set");
  cpu.mxcsr = value;
}

void run_store_mxcsr(Cpu& cpu, const Op& op) { put<std::uint32_t>(cpu, op, 0, cpu.mxcsr); }

void zero_above(Cpu& cpu, std::size_t bytes) {
  for (unsigned i = 0; i < 16; ++i) {
    std::memset(cpu.zmm[i].bytes + bytes, 0, sizeof(Vec) - bytes);
  }
  cpu.upper_dirty = false;
}

void run_zero_upper(Cpu& cpu, const Op&) { zero_above(cpu, 16); }
void run_zero_all(Cpu& cpu, const Op&) { zero_above(cpu, 0); }

}  // namespace

std::vector<Entry> control_table() {
  std::vector<Entry> table = {
      {ZYDIS_MNEMONIC_JMP, bind_direct, run_jump},     {ZYDIS_MNEMONIC_PUSH, bind_stack, run_push},
      {ZYDIS_MNEMONIC_POP, bind_stack, run_pop},       {ZYDIS_MNEMONIC_RET, bind_return, run_return},
      plain(ZYDIS_MNEMONIC_LEAVE, run_leave),          plain(ZYDIS_MNEMONIC_ENDBR64, run_nothing),
      plain(ZYDIS_MNEMONIC_NOP, run_nothing),          plain(ZYDIS_MNEMONIC_PREFETCHT0, run_nothing),
      plain(ZYDIS_MNEMONIC_PREFETCHT1, run_nothing),   plain(ZYDIS_MNEMONIC_PREFETCHT2, run_nothing),
      plain(ZYDIS_MNEMONIC_PREFETCHNTA, run_nothing),  plain(ZYDIS_MNEMONIC_LDMXCSR, run_load_mxcsr),
      plain(ZYDIS_MNEMONIC_VLDMXCSR, run_load_mxcsr),  plain(ZYDIS_MNEMONIC_STMXCSR, run_store_mxcsr),
      plain(ZYDIS_MNEMONIC_VSTMXCSR, run_store_mxcsr), plain(ZYDIS_MNEMONIC_VZEROUPPER, run_zero_upper),
      plain(ZYDIS_MNEMONIC_VZEROALL, run_zero_all),
  };
  for (const ZydisMnemonic mnemonic :
       {ZYDIS_MNEMONIC_JO, ZYDIS_MNEMONIC_JNO, ZYDIS_MNEMONIC_JB, ZYDIS_MNEMONIC_JNB, ZYDIS_MNEMONIC_JZ,
        ZYDIS_MNEMONIC_JNZ, ZYDIS_MNEMONIC_JBE, ZYDIS_MNEMONIC_JNBE, ZYDIS_MNEMONIC_JS, ZYDIS_MNEMONIC_JNS,
        ZYDIS_MNEMONIC_JP, ZYDIS_MNEMONIC_JNP, ZYDIS_MNEMONIC_JL, ZYDIS_MNEMONIC_JNL, ZYDIS_MNEMONIC_JLE,
        ZYDIS_MNEMONIC_JNLE}) {
    table.push_back({mnemonic, bind_direct, run_jump_if});
  }
  return table;
}

}  // namespace zenwoq::emulator
