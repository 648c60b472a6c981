// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Shifts, rotations and bit manipulation (BMI1, BMI2) of general-purpose registers.

#include "tests/emulator/integer.h"

namespace zenwoq::emulator {
namespace {

void run_bit_test(Cpu& cpu, const Op& op) {
  const unsigned bit = get<std::uint8_t>(cpu, op, 1) & (8U * op.operand[0].bytes - 1);
  cpu.flags.carry = (get_zero_extended(cpu, op, 0) >> bit & 1) != 0;
}

// With a memory operand and a register the bit number reaches beyond the operand; not needed here.
bool bind_bit_test(Op& op, const Entry& entry) {
  op.run = entry.run;
  return op.operand[0].kind == Kind::gpr || op.operand[1].kind == Kind::immediate;
}

template <class T>
T shift_left(Flags& flags, T a, unsigned count) {
  const T result = static_cast<T>(std::uint64_t{a} << count);
  const bool carry = count <= kBits<T> && (std::uint64_t{a} >> (kBits<T> - count) & 1) != 0;
  flags = {sign_extended(result), carry, top_bit(result) != carry};
  return result;
}

template <class T>
T shift_right(Flags& flags, T a, unsigned count) {
  const T result = static_cast<T>(std::uint64_t{a} >> count);
  flags = {sign_extended(result), (std::uint64_t{a} >> (count - 1) & 1) != 0, top_bit(a)};
  return result;
}

template <class T>
T shift_right_arithmetic(Flags& flags, T a, unsigned count) {
  const std::int64_t result = sign_extended(a) >> count;
  flags = {result, (sign_extended(a) >> (count - 1) & 1) != 0, false};
  return static_cast<T>(result);
}

template <class T>
T rotated_left(T a, unsigned count) {
  count %= kBits<T>;
  return count == 0 ? a : static_cast<T>(a << count | a >> (kBits<T> - count));
}

// Rotations change CF and OF only.
template <class T>
T rotate_left(Flags& flags, T a, unsigned count) {
  const T result = rotated_left(a, count);
  flags.carry = (result & 1) != 0;
  flags.overflow = top_bit(result) != flags.carry;
  return result;
}

template <class T>
T rotate_right(Flags& flags, T a, unsigned count) {
  const T result = rotated_left(a, kBits<T> - count % kBits<T>);
  flags.carry = top_bit(result);
  flags.overflow = top_bit(result) != top_bit(static_cast<T>(result << 1));
  return result;
}

template <class T>
T low_bits(T value, unsigned count) {
  return count >= kBits<T> ? value : static_cast<T>(value & ((T{1} << count) - 1));
}

template <class T>
T zero_high(Flags& flags, T a, T index) {
  const unsigned count = index & 0xFF;
  return set_logic<T>(flags, low_bits(a, count), count >= kBits<T>);
}

template <class T>
T field(Flags& flags, T a, T control) {
  const unsigned start = control & 0xFF;
  const unsigned length = control >> 8 & 0xFF;
  return set_logic<T>(flags, start >= kBits<T> ? T{0} : low_bits(static_cast<T>(a >> start), length));
}

template <class T>
T deposit(T source, T mask) {
  T result = 0;
  for (; mask != 0; mask = static_cast<T>(mask & (mask - 1)), source = static_cast<T>(source >> 1)) {
    if ((source & 1) != 0) result = static_cast<T>(result | (mask & -mask));
  }
  return result;
}

template <class T>
T extract(T source, T mask) {
  T result = 0;
  for (T bit = 1; mask != 0; mask = static_cast<T>(mask & (mask - 1)), bit = static_cast<T>(bit << 1)) {
    if ((source & mask & -mask) != 0) result = static_cast<T>(result | bit);
  }
  return result;
}

template <class T>
T trailing_zeros(Flags& flags, T a) {
  const T count = a == 0 ? kBits<T> : static_cast<T>(__builtin_ctzll(a));
  flags = {sign_extended(count), a == 0, false};
  return count;
}

// The count of shlx, shrx, sarx and rorx is masked like that of the other shifts; no flags change.
template <class T>
unsigned masked_count(T count) {
  return static_cast<unsigned>(count & (kBits<T> - 1));
}

}  // namespace

std::vector<Entry> bit_table() {
  return {
      shift(ZYDIS_MNEMONIC_SHL, [](Flags& f, auto a, unsigned n) { return shift_left(f, a, n); }),
      shift(ZYDIS_MNEMONIC_SHR, [](Flags& f, auto a, unsigned n) { return shift_right(f, a, n); }),
      shift(ZYDIS_MNEMONIC_SAR, [](Flags& f, auto a, unsigned n) { return shift_right_arithmetic(f, a, n); }),
      shift(ZYDIS_MNEMONIC_ROL, [](Flags& f, auto a, unsigned n) { return rotate_left(f, a, n); }),
      shift(ZYDIS_MNEMONIC_ROR, [](Flags& f, auto a, unsigned n) { return rotate_right(f, a, n); }),
      from_two(ZYDIS_MNEMONIC_SHLX, [](Flags&, auto a, auto n) { return a << masked_count(n); }),
      from_two(ZYDIS_MNEMONIC_SHRX, [](Flags&, auto a, auto n) { return a >> masked_count(n); }),
      from_two(ZYDIS_MNEMONIC_SARX, [](Flags&, auto a, auto n) { return sign_extended(a) >> masked_count(n); }),
      from_two(ZYDIS_MNEMONIC_RORX,
               [](Flags&, auto a, auto n) { return rotated_left(a, kBits<decltype(a)> - masked_count(n)); }),
      from_two(ZYDIS_MNEMONIC_ANDN, [](Flags& f, auto a, auto b) { return set_logic<decltype(a)>(f, ~a & b); }),
      from_two(ZYDIS_MNEMONIC_BZHI, [](Flags& f, auto a, auto n) { return zero_high(f, a, n); }),
      from_two(ZYDIS_MNEMONIC_BEXTR, [](Flags& f, auto a, auto n) { return field(f, a, n); }),
      from_two(ZYDIS_MNEMONIC_PDEP, [](Flags&, auto a, auto mask) { return deposit(a, mask); }),
      from_two(ZYDIS_MNEMONIC_PEXT, [](Flags&, auto a, auto mask) { return extract(a, mask); }),
      from_one(ZYDIS_MNEMONIC_BLSR, [](Flags& f, auto a) { return set_logic<decltype(a)>(f, a & (a - 1), a == 0); }),
      from_one(ZYDIS_MNEMONIC_BLSMSK, [](Flags& f, auto a) { return set_logic<decltype(a)>(f, a ^ (a - 1), a == 0); }),
      from_one(ZYDIS_MNEMONIC_BLSI, [](Flags& f, auto a) { return set_logic<decltype(a)>(f, a & -a, a != 0); }),
      from_one(ZYDIS_MNEMONIC_TZCNT, [](Flags& f, auto a) { return trailing_zeros(f, a); }),
      {ZYDIS_MNEMONIC_BT, bind_bit_test, run_bit_test},
  };
}

}  // namespace zenwoq::emulator
