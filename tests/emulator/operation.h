// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// One pre-decoded instruction, and the tables of all instructions that a kernel may consist of.
#pragma once

#include <Zydis/Zydis.h>

#include <array>
#include <cstdint>
#include <vector>

#include "tests/emulator/emulator.h"

namespace zenwoq::emulator {

struct Op;

// The operands of a vector computation: the second and third operand in Intel order, and the old destination.
struct Sources {
  const Vec* a;
  const Vec* b;
  const Vec* old;
};

using Handler = void (*)(Cpu& cpu, const Op& op);
// A pure function. It may write all of `out`: the handler drops lanes above the vector length.
using Compute = void (*)(const Op& op, const Sources& sources, Vec& out);

enum class Kind : std::uint8_t { none, gpr, vector, mask, memory, immediate };

struct Operand {
  Kind kind = Kind::none;
  std::uint8_t index = 0;   // of the register
  std::uint16_t bytes = 0;  // of the memory access if kind is memory
};

struct Op {
  Handler run = nullptr;
  Compute compute = nullptr;
  std::int64_t displacement = 0;  // the absolute address if RIP-relative
  std::uint64_t immediate = 0;
  ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID;
  std::uint32_t next = 0;    // index of the operation that follows in memory
  std::uint32_t target = 0;  // offset, later index, of the operation that a branch goes to
  std::uint32_t offset = 0;
  Features needs = 0;              // what a CPU must have to run this encoding
  std::array<Operand, 4> operand;  // visible ones without the write mask
  std::uint8_t base = kNoRegister;
  std::uint8_t index = kNoRegister;
  std::uint8_t shift = 0;
  std::uint8_t length = 0;
  std::uint8_t condition = 0;  // of jcc, cmovcc: the low four bits of the opcode
  std::uint8_t mask = 0;       // write mask; 0 is none
  std::uint8_t element = 0;    // bytes that one mask bit controls
  std::uint8_t broadcast = 0;  // bytes of a {1toN} memory operand; 0 is none
  std::uint8_t vector_bytes = 0;
  std::uint8_t result_bytes = 0;  // of a conversion to narrower elements, above which all becomes zero
  bool branches = false;          // to target, perhaps on a condition
  bool evex = false;
  bool zeroing = false;
  bool registers_only = true;  // no operand is fetched from anywhere but vector registers
};

inline std::uint64_t address_of(const Cpu& cpu, const Op& op) {
  return cpu.gpr[op.base] + (cpu.gpr[op.index] << op.shift) + static_cast<std::uint64_t>(op.displacement);
}

// A row of a table. `bind` completes an Op whose operands are already known; false: this form is not supported.
struct Entry {
  ZydisMnemonic mnemonic;
  bool (*bind)(Op& op, const Entry& entry);
  Handler run = nullptr;
  Compute compute = nullptr;
  std::uint8_t element = 0;
  Features needs = 0;  // filled from the row's table
};

inline bool bind_plain(Op& op, const Entry& entry) {
  op.run = entry.run;
  op.compute = entry.compute;
  op.element = entry.element;
  return true;
}

// A mnemonic in a row of a table.
#define M(name) ZYDIS_MNEMONIC_##name

inline Entry plain(ZydisMnemonic mnemonic, Handler run) { return {mnemonic, bind_plain, run}; }

// Rows that need the same features. An EVEX encoding of any row needs kAvx512 besides.
struct Table {
  Features needs;
  std::vector<Entry> rows;
};

std::vector<Table> scalar_tables();
std::vector<Table> move_tables();
std::vector<Table> arithmetic_tables();

// Fills `op` from a decoded instruction, except next and target. An instruction or form that is in no table gets a
// handler that fails. `code` is where RIP-relative operands point.
void translate(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands,
               const std::uint8_t* code, std::uint32_t offset, Op& op);

// Whether the tables permit it; if not, running it can only fail.
bool is_known(const Op& op);

}  // namespace zenwoq::emulator
