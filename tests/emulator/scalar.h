// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Reading and writing of the scalar operands of an Op: general-purpose registers, memory, immediates.
#pragma once

#include <cstring>
#include <type_traits>

#include "tests/emulator/operation.h"

namespace zenwoq::emulator {

template <class T>
inline T get(Cpu& cpu, const Op& op, std::size_t i) {
  const Operand& operand = op.operand[i];
  if (operand.kind == Kind::gpr) return static_cast<T>(cpu.gpr[operand.index]);
  if (operand.kind == Kind::immediate) return static_cast<T>(op.immediate);
  T value;
  std::memcpy(&value, cpu.readable(address_of(cpu, op), sizeof value), sizeof value);
  return value;
}

// A write of 32 bits clears the upper half of the register, one of 8 or 16 bits keeps the rest.
template <class T>
inline void put_gpr(Cpu& cpu, unsigned index, T value) {
  if constexpr (sizeof(T) >= 4) {
    cpu.gpr[index] = value;
  } else {
    std::memcpy(&cpu.gpr[index], &value, sizeof value);
  }
}

template <class T>
inline void put(Cpu& cpu, const Op& op, std::size_t i, T value) {
  const Operand& operand = op.operand[i];
  if (operand.kind == Kind::gpr) return put_gpr<T>(cpu, operand.index, value);
  std::memcpy(cpu.writable(address_of(cpu, op), sizeof value), &value, sizeof value);
}

// The same with the width known at run time only.
inline std::uint64_t get_zero_extended(Cpu& cpu, const Op& op, std::size_t i) {
  switch (op.operand[i].bytes) {
    case 1: return get<std::uint8_t>(cpu, op, i);
    case 2: return get<std::uint16_t>(cpu, op, i);
    case 4: return get<std::uint32_t>(cpu, op, i);
    default: return get<std::uint64_t>(cpu, op, i);
  }
}

inline void put_truncated(Cpu& cpu, const Op& op, std::size_t i, std::uint64_t value) {
  switch (op.operand[i].bytes) {
    case 1: return put<std::uint8_t>(cpu, op, i, static_cast<std::uint8_t>(value));
    case 2: return put<std::uint16_t>(cpu, op, i, static_cast<std::uint16_t>(value));
    case 4: return put<std::uint32_t>(cpu, op, i, static_cast<std::uint32_t>(value));
    default: return put<std::uint64_t>(cpu, op, i, value);
  }
}

template <class T>
inline std::int64_t sign_extended(T value) {
  return static_cast<std::make_signed_t<T>>(value);
}

// Picks by the width of the first operand.
inline Handler by_width(const Op& op, Handler h8, Handler h16, Handler h32, Handler h64) {
  switch (op.operand[0].bytes) {
    case 1: return h8;
    case 2: return h16;
    case 4: return h32;
    default: return h64;
  }
}

inline bool condition_holds(const Flags& flags, std::uint8_t condition) {
  bool holds = false;
  switch (condition >> 1) {
    case 0: holds = flags.overflow; break;
    case 1: holds = flags.carry; break;
    case 2: holds = flags.zero(); break;
    case 3: holds = flags.carry || flags.zero(); break;
    case 4: holds = flags.sign(); break;
    case 5: holds = flags.parity(); break;
    case 6: holds = flags.sign() != flags.overflow; break;
    default: holds = flags.zero() || flags.sign() != flags.overflow; break;
  }
  return holds != ((condition & 1) != 0);
}

}  // namespace zenwoq::emulator
