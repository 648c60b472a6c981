// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Moves, arithmetic and logic of general-purpose registers.

#include "tests/emulator/integer.h"

namespace zenwoq::emulator {
namespace {

template <class T>
T add(Flags& flags, T a, T b, bool carry) {
  const T result = static_cast<T>(a + b + carry);
  const T carries = static_cast<T>((a & b) | ((a | b) & ~result));
  const T overflow = static_cast<T>((a ^ result) & (b ^ result));
  flags = {sign_extended(result), top_bit(carries), top_bit(overflow)};
  return result;
}

template <class T>
T subtract(Flags& flags, T a, T b, bool borrow) {
  const T result = static_cast<T>(a - b - borrow);
  const T borrows = static_cast<T>((~a & b) | ((~a | b) & result));
  const T overflow = static_cast<T>((a ^ b) & (a ^ result));
  flags = {sign_extended(result), top_bit(borrows), top_bit(overflow)};
  return result;
}

// inc and dec leave CF alone.
template <class T>
T add_keeping_carry(Flags& flags, T a, int step) {
  const bool carry = flags.carry;
  const T result = step > 0 ? add<T>(flags, a, 1, false) : subtract<T>(flags, a, 1, false);
  flags.carry = carry;
  return result;
}

void run_sign_extend(Cpu& cpu, const Op& op) {
  const std::uint64_t value = get_zero_extended(cpu, op, 1);
  const unsigned unused = 64 - 8 * op.operand[1].bytes;
  const std::int64_t extended = static_cast<std::int64_t>(value << unused) >> unused;
  put_truncated(cpu, op, 0, static_cast<std::uint64_t>(extended));
}

void run_zero_extend(Cpu& cpu, const Op& op) { put_truncated(cpu, op, 0, get_zero_extended(cpu, op, 1)); }

void run_address(Cpu& cpu, const Op& op) { put_truncated(cpu, op, 0, address_of(cpu, op)); }

void run_set_if(Cpu& cpu, const Op& op) {
  put<std::uint8_t>(cpu, op, 0, condition_holds(cpu.flags, op.condition) ? 1 : 0);
}

// The source is read, and a 32-bit destination zero-extended, whether or not the condition holds.
void run_move_if(Cpu& cpu, const Op& op) {
  const std::uint64_t source = get_zero_extended(cpu, op, 1);
  const std::uint64_t old = cpu.gpr[op.operand[0].index];
  put_truncated(cpu, op, 0, condition_holds(cpu.flags, op.condition) ? source : old);
}

template <class T>
T multiply(Flags& flags, T a, T b) {
  const __int128 product = static_cast<__int128>(sign_extended(a)) * sign_extended(b);
  const T result = static_cast<T>(product);
  const bool lost = product != sign_extended(result);
  flags = {sign_extended(result), lost, lost};
  return result;
}

template <class T>
void run_multiply(Cpu& cpu, const Op& op) {
  const bool three = op.operand[2].kind != Kind::none;
  const T a = get<T>(cpu, op, three ? 1 : 0);
  put<T>(cpu, op, 0, multiply<T>(cpu.flags, a, get<T>(cpu, op, three ? 2 : 1)));
}

// The form with one operand writes rdx as well and is not supported.
bool bind_multiply(Op& op, const Entry&) {
  op.run = by_width(op, nullptr, run_multiply<std::uint16_t>, run_multiply<std::uint32_t>, run_multiply<std::uint64_t>);
  return op.operand[1].kind != Kind::none && op.run != nullptr;
}

void run_exchange(Cpu& cpu, const Op& op) {
  const std::uint64_t first = get_zero_extended(cpu, op, 0);
  const std::uint64_t second = get_zero_extended(cpu, op, 1);
  put_truncated(cpu, op, 0, second);
  put_truncated(cpu, op, 1, first);
}

void run_cdqe(Cpu& cpu, const Op&) {
  cpu.gpr[kRax] = static_cast<std::uint64_t>(sign_extended(static_cast<std::uint32_t>(cpu.gpr[kRax])));
}
void run_cqo(Cpu& cpu, const Op&) { cpu.gpr[kRdx] = top_bit(cpu.gpr[kRax]) ? ~std::uint64_t{0} : 0; }

void append_conditional(std::vector<Entry>& table) {
  for (const ZydisMnemonic mnemonic :
       {ZYDIS_MNEMONIC_SETO, ZYDIS_MNEMONIC_SETNO, ZYDIS_MNEMONIC_SETB, ZYDIS_MNEMONIC_SETNB, ZYDIS_MNEMONIC_SETZ,
        ZYDIS_MNEMONIC_SETNZ, ZYDIS_MNEMONIC_SETBE, ZYDIS_MNEMONIC_SETNBE, ZYDIS_MNEMONIC_SETS, ZYDIS_MNEMONIC_SETNS,
        ZYDIS_MNEMONIC_SETP, ZYDIS_MNEMONIC_SETNP, ZYDIS_MNEMONIC_SETL, ZYDIS_MNEMONIC_SETNL, ZYDIS_MNEMONIC_SETLE,
        ZYDIS_MNEMONIC_SETNLE}) {
    table.push_back(plain(mnemonic, run_set_if));
  }
  for (const ZydisMnemonic mnemonic :
       {ZYDIS_MNEMONIC_CMOVO, ZYDIS_MNEMONIC_CMOVNO, ZYDIS_MNEMONIC_CMOVB, ZYDIS_MNEMONIC_CMOVNB, ZYDIS_MNEMONIC_CMOVZ,
        ZYDIS_MNEMONIC_CMOVNZ, ZYDIS_MNEMONIC_CMOVBE, ZYDIS_MNEMONIC_CMOVNBE, ZYDIS_MNEMONIC_CMOVS,
        ZYDIS_MNEMONIC_CMOVNS, ZYDIS_MNEMONIC_CMOVP, ZYDIS_MNEMONIC_CMOVNP, ZYDIS_MNEMONIC_CMOVL, ZYDIS_MNEMONIC_CMOVNL,
        ZYDIS_MNEMONIC_CMOVLE, ZYDIS_MNEMONIC_CMOVNLE}) {
    table.push_back(plain(mnemonic, run_move_if));
  }
}

}  // namespace

std::vector<Entry> integer_table() {
  std::vector<Entry> table = {
      from_one(ZYDIS_MNEMONIC_MOV, [](Flags&, auto a) { return a; }),
      plain(ZYDIS_MNEMONIC_MOVZX, run_zero_extend),
      plain(ZYDIS_MNEMONIC_MOVSX, run_sign_extend),
      plain(ZYDIS_MNEMONIC_MOVSXD, run_sign_extend),
      plain(ZYDIS_MNEMONIC_LEA, run_address),
      plain(ZYDIS_MNEMONIC_XCHG, run_exchange),
      plain(ZYDIS_MNEMONIC_CDQE, run_cdqe),
      plain(ZYDIS_MNEMONIC_CQO, run_cqo),
      binary(ZYDIS_MNEMONIC_ADD, [](Flags& f, auto a, auto b) { return add(f, a, b, false); }),
      binary(ZYDIS_MNEMONIC_ADC, [](Flags& f, auto a, auto b) { return add(f, a, b, f.carry); }),
      binary(ZYDIS_MNEMONIC_SUB, [](Flags& f, auto a, auto b) { return subtract(f, a, b, false); }),
      binary(ZYDIS_MNEMONIC_SBB, [](Flags& f, auto a, auto b) { return subtract(f, a, b, f.carry); }),
      compare(ZYDIS_MNEMONIC_CMP, [](Flags& f, auto a, auto b) { subtract(f, a, b, false); }),
      binary(ZYDIS_MNEMONIC_AND, [](Flags& f, auto a, auto b) { return set_logic<decltype(a)>(f, a & b); }),
      binary(ZYDIS_MNEMONIC_OR, [](Flags& f, auto a, auto b) { return set_logic<decltype(a)>(f, a | b); }),
      binary(ZYDIS_MNEMONIC_XOR, [](Flags& f, auto a, auto b) { return set_logic<decltype(a)>(f, a ^ b); }),
      compare(ZYDIS_MNEMONIC_TEST, [](Flags& f, auto a, auto b) { set_logic<decltype(a)>(f, a & b); }),
      unary(ZYDIS_MNEMONIC_NOT, [](Flags&, auto a) { return ~a; }),
      unary(ZYDIS_MNEMONIC_NEG, [](Flags& f, auto a) { return subtract<decltype(a)>(f, 0, a, false); }),
      unary(ZYDIS_MNEMONIC_INC, [](Flags& f, auto a) { return add_keeping_carry(f, a, 1); }),
      unary(ZYDIS_MNEMONIC_DEC, [](Flags& f, auto a) { return add_keeping_carry(f, a, -1); }),
      {ZYDIS_MNEMONIC_IMUL, bind_multiply},
  };
  append_conditional(table);
  return table;
}

}  // namespace zenwoq::emulator
