// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Instructions on the mask registers k0 to k7.

#include "tests/emulator/scalar.h"

namespace zenwoq::emulator {
namespace {

template <unsigned Width>
constexpr std::uint64_t kMask = ~std::uint64_t{0} >> (64 - Width);

template <unsigned Width>
std::uint64_t source(const Cpu& cpu, const Op& op, std::size_t i) {
  return cpu.k[op.operand[i].index] & kMask<Width>;
}

template <unsigned Width>
void run_from_register(Cpu& cpu, const Op& op) {
  const Operand& from = op.operand[1];
  const std::uint64_t value = from.kind == Kind::mask ? cpu.k[from.index] : cpu.gpr[from.index];
  cpu.k[op.operand[0].index] = value & kMask<Width>;
}

template <unsigned Width>
void run_load(Cpu& cpu, const Op& op) {
  std::uint64_t value = 0;
  std::memcpy(&value, cpu.readable(address_of(cpu, op), Width / 8), Width / 8);
  cpu.k[op.operand[0].index] = value;
}

template <unsigned Width>
void run_store(Cpu& cpu, const Op& op) {
  const std::uint64_t value = source<Width>(cpu, op, 1);
  std::memcpy(cpu.writable(address_of(cpu, op), Width / 8), &value, Width / 8);
}

template <unsigned Width>
void run_to_gpr(Cpu& cpu, const Op& op) {
  cpu.gpr[op.operand[0].index] = source<Width>(cpu, op, 1);
}

template <unsigned Width>
bool bind_move(Op& op, const Entry&) {
  if (op.operand[0].kind == Kind::memory)
    op.run = run_store<Width>;
  else if (op.operand[0].kind == Kind::gpr)
    op.run = run_to_gpr<Width>;
  else if (op.operand[1].kind == Kind::memory)
    op.run = run_load<Width>;
  else
    op.run = run_from_register<Width>;
  return true;
}

template <unsigned Width, class F>
void run_two(Cpu& cpu, const Op& op) {
  const std::uint64_t result = F{}(source<Width>(cpu, op, 1), source<Width>(cpu, op, 2));
  cpu.k[op.operand[0].index] = result & kMask<Width>;
}

template <unsigned Width>
void run_not(Cpu& cpu, const Op& op) {
  cpu.k[op.operand[0].index] = ~source<Width>(cpu, op, 1) & kMask<Width>;
}

// A count of Width or more, which is not reduced, gives zero.
template <unsigned Width, bool Left>
void run_shift(Cpu& cpu, const Op& op) {
  const std::uint64_t count = op.immediate & 0xFF;
  const std::uint64_t value = source<Width>(cpu, op, 1);
  const std::uint64_t shifted = count >= Width ? 0 : Left ? value << count : value >> count;
  cpu.k[op.operand[0].index] = shifted & kMask<Width>;
}

// `Width` is that of the result.
template <unsigned Width>
void run_unpack(Cpu& cpu, const Op& op) {
  const std::uint64_t low = source<Width / 2>(cpu, op, 2);
  cpu.k[op.operand[0].index] = source<Width / 2>(cpu, op, 1) << (Width / 2) | low;
}

void set_zero_carry(Flags& flags, bool zero, bool carry) { flags = {zero ? 0 : 1, carry, false}; }

template <unsigned Width>
void run_or_test(Cpu& cpu, const Op& op) {
  const std::uint64_t either = source<Width>(cpu, op, 0) | source<Width>(cpu, op, 1);
  set_zero_carry(cpu.flags, either == 0, either == kMask<Width>);
}

template <unsigned Width>
void run_test(Cpu& cpu, const Op& op) {
  const std::uint64_t a = source<Width>(cpu, op, 0);
  const std::uint64_t b = source<Width>(cpu, op, 1);
  set_zero_carry(cpu.flags, (a & b) == 0, (~a & b) == 0);
}

template <unsigned Width, class F>
Entry two(ZydisMnemonic mnemonic, F) {
  return plain(mnemonic, run_two<Width, F>);
}

// The mnemonics of one width.
struct Names {
  ZydisMnemonic mov, andk, andn, ork, xork, xnor, add, notk, shift_left, shift_right, or_test, test;
};

template <unsigned Width>
void append(std::vector<Entry>& table, const Names& names) {
  table.insert(table.end(), {
                                {names.mov, bind_move<Width>},
                                two<Width>(names.andk, [](std::uint64_t a, std::uint64_t b) { return a & b; }),
                                two<Width>(names.andn, [](std::uint64_t a, std::uint64_t b) { return ~a & b; }),
                                two<Width>(names.ork, [](std::uint64_t a, std::uint64_t b) { return a | b; }),
                                two<Width>(names.xork, [](std::uint64_t a, std::uint64_t b) { return a ^ b; }),
                                two<Width>(names.xnor, [](std::uint64_t a, std::uint64_t b) { return ~(a ^ b); }),
                                two<Width>(names.add, [](std::uint64_t a, std::uint64_t b) { return a + b; }),
                                plain(names.notk, run_not<Width>),
                                plain(names.shift_left, run_shift<Width, true>),
                                plain(names.shift_right, run_shift<Width, false>),
                                plain(names.or_test, run_or_test<Width>),
                                plain(names.test, run_test<Width>),
                            });
}

}  // namespace

#define ZENWOQ_MASK_NAMES(w)                                                                                     \
  {                                                                                                              \
    ZYDIS_MNEMONIC_KMOV##w, ZYDIS_MNEMONIC_KAND##w, ZYDIS_MNEMONIC_KANDN##w, ZYDIS_MNEMONIC_KOR##w,              \
        ZYDIS_MNEMONIC_KXOR##w, ZYDIS_MNEMONIC_KXNOR##w, ZYDIS_MNEMONIC_KADD##w, ZYDIS_MNEMONIC_KNOT##w,         \
        ZYDIS_MNEMONIC_KSHIFTL##w, ZYDIS_MNEMONIC_KSHIFTR##w, ZYDIS_MNEMONIC_KORTEST##w, ZYDIS_MNEMONIC_KTEST##w \
  }

std::vector<Entry> mask_table() {
  std::vector<Entry> table = {
      plain(ZYDIS_MNEMONIC_KUNPCKBW, run_unpack<16>),
      plain(ZYDIS_MNEMONIC_KUNPCKWD, run_unpack<32>),
      plain(ZYDIS_MNEMONIC_KUNPCKDQ, run_unpack<64>),
  };
  append<8>(table, ZENWOQ_MASK_NAMES(B));
  append<16>(table, ZENWOQ_MASK_NAMES(W));
  append<32>(table, ZENWOQ_MASK_NAMES(D));
  append<64>(table, ZENWOQ_MASK_NAMES(Q));
  return table;
}

#undef ZENWOQ_MASK_NAMES

}  // namespace zenwoq::emulator
