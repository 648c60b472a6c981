// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Table entries for integer instructions: a lambda over the operand type becomes one handler per width.
#pragma once

#include "tests/emulator/scalar.h"

namespace zenwoq::emulator {

template <class T>
inline constexpr unsigned kBits = sizeof(T) * 8;

template <class T>
bool top_bit(T value) {
  return (value >> (kBits<T> - 1) & 1) != 0;
}

template <class T>
T set_logic(Flags& flags, T result, bool carry = false) {
  flags = {sign_extended(result), carry, false};
  return result;
}

// dst = f(flags, dst, src)
template <class F, class T>
void run_binary(Cpu& cpu, const Op& op) {
  const T a = get<T>(cpu, op, 0);
  put<T>(cpu, op, 0, static_cast<T>(F{}(cpu.flags, a, get<T>(cpu, op, 1))));
}

// f(flags, first, second), for the flags only
template <class F, class T>
void run_compare(Cpu& cpu, const Op& op) {
  F{}(cpu.flags, get<T>(cpu, op, 0), get<T>(cpu, op, 1));
}

// dst = f(flags, dst)
template <class F, class T>
void run_unary(Cpu& cpu, const Op& op) {
  put<T>(cpu, op, 0, static_cast<T>(F{}(cpu.flags, get<T>(cpu, op, 0))));
}

// dst = f(flags, first source)
template <class F, class T>
void run_from_one(Cpu& cpu, const Op& op) {
  put<T>(cpu, op, 0, static_cast<T>(F{}(cpu.flags, get<T>(cpu, op, 1))));
}

// dst = f(flags, first source, second source)
template <class F, class T>
void run_from_two(Cpu& cpu, const Op& op) {
  const T a = get<T>(cpu, op, 1);
  put<T>(cpu, op, 0, static_cast<T>(F{}(cpu.flags, a, get<T>(cpu, op, 2))));
}

// dst = f(flags, dst, count); the hardware masks the count to the operand's width, at least 32.
template <class F, class T>
void run_shift(Cpu& cpu, const Op& op) {
  const unsigned count = get<std::uint8_t>(cpu, op, 1) & (sizeof(T) == 8 ? 63 : 31);
  const T a = get<T>(cpu, op, 0);
  // A count of zero changes no flag, but a 32-bit destination still clears its upper half.
  put<T>(cpu, op, 0, count == 0 ? a : static_cast<T>(F{}(cpu.flags, a, count)));
}

#define ZENWOQ_SIZED_ENTRY(name, runner)                                                                         \
  template <class F>                                                                                             \
  Entry name(ZydisMnemonic mnemonic, F) {                                                                        \
    return {mnemonic, [](Op& op, const Entry&) {                                                                 \
              op.run = by_width(op, runner<F, std::uint8_t>, runner<F, std::uint16_t>, runner<F, std::uint32_t>, \
                                runner<F, std::uint64_t>);                                                       \
              return true;                                                                                       \
            }};                                                                                                  \
  }
ZENWOQ_SIZED_ENTRY(binary, run_binary)
ZENWOQ_SIZED_ENTRY(compare, run_compare)
ZENWOQ_SIZED_ENTRY(unary, run_unary)
ZENWOQ_SIZED_ENTRY(from_one, run_from_one)
ZENWOQ_SIZED_ENTRY(from_two, run_from_two)
ZENWOQ_SIZED_ENTRY(shift, run_shift)
#undef ZENWOQ_SIZED_ENTRY

}  // namespace zenwoq::emulator
