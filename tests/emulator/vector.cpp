// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// How vector instructions fetch their operands and write their results.
#include "tests/emulator/vector.h"

#include <fmt/format.h>

namespace zenwoq::emulator {
namespace {

std::uint64_t all_bytes(std::size_t bytes) { return ~std::uint64_t{0} >> (64 - bytes); }

void load_memory(Cpu& cpu, const Op& op, std::size_t bytes, Vec& out) {
  const std::uint8_t* from = cpu.readable(address_of(cpu, op), bytes);
  if (op.broadcast != 0) {
    for (std::size_t at = 0; at < sizeof(Vec); at += op.broadcast) std::memcpy(out.bytes + at, from, op.broadcast);
  } else {
    out = kZeroVec;
    std::memcpy(out.bytes, from, bytes);
  }
}

// At most one operand is not a vector register, so one temporary is enough. A missing operand has index 0.
Sources gather(Cpu& cpu, const Op& op, Vec& temporary) {
  const Operand& destination = op.operand[0];
  if (op.registers_only) {
    return {&cpu.zmm[op.operand[1].index], &cpu.zmm[op.operand[2].index], &cpu.zmm[destination.index]};
  }
  const Vec* old = destination.kind == Kind::vector ? &cpu.zmm[destination.index] : &kZeroVec;
  return {&fetch(cpu, op, 1, temporary), &fetch(cpu, op, 2, temporary), old};
}

// Writes to the first operand, a vector register, under the write mask. No mask bit covers what lies above a narrowed
// result: it becomes zero, whatever was there.
void write_vector(Cpu& cpu, const Op& op, Vec& out) {
  const Operand& destination = op.operand[0];
  if (op.mask != 0) {
    const std::size_t bytes = op.result_bytes != 0 ? op.result_bytes : destination.bytes;
    const Vec& base = op.zeroing ? kZeroVec : cpu.zmm[destination.index];
    copy_active(out.bytes, base.bytes, all_bytes(bytes) & ~active_bytes(cpu, op, bytes));
  }
  write_register(cpu, destination.index, destination.bytes, out);
}

Vec compute(Cpu& cpu, const Op& op) {
  Vec temporary;
  Vec out;
  op.compute(op, gather(cpu, op, temporary), out);
  return out;
}

}  // namespace

const Vec& fetch(Cpu& cpu, const Op& op, std::size_t i, Vec& temporary) {
  const Operand& operand = op.operand[i];
  switch (operand.kind) {
    case Kind::vector: return cpu.zmm[operand.index];
    case Kind::memory: load_memory(cpu, op, operand.bytes, temporary); return temporary;
    case Kind::gpr:
      temporary = kZeroVec;
      std::memcpy(temporary.bytes, &cpu.gpr[operand.index], sizeof(std::uint64_t));
      return temporary;
    default: return kZeroVec;
  }
}

void finish_register(Cpu& cpu, unsigned index, std::size_t bytes) {
  cpu.note_vector_write(index, bytes);
  std::uint8_t* target = cpu.zmm[index].bytes;
  if (bytes < 32) std::memset(target + 16, 0, 16);
  if (bytes < 64) std::memset(target + 32, 0, 32);
}

void write_register(Cpu& cpu, unsigned index, std::size_t bytes, const Vec& value) {
  cpu.zmm[index] = value;
  finish_register(cpu, index, bytes);
}

std::uint64_t active_bytes(const Cpu& cpu, const Op& op, std::size_t bytes) {
  if (op.mask == 0) return all_bytes(bytes);
  std::uint64_t active = 0;
  std::uint64_t mask = cpu.k[op.mask];
  for (std::size_t at = 0; at < bytes && mask != 0; at += op.element, mask >>= 1) {
    if ((mask & 1) != 0) active |= ((std::uint64_t{1} << op.element) - 1) << at;
  }
  return active;
}

void copy_active(std::uint8_t* to, const std::uint8_t* from, std::uint64_t active) {
  for (; active != 0; active &= active - 1) {
    const int i = __builtin_ctzll(active);
    to[i] = from[i];
  }
}

void run_vector(Cpu& cpu, const Op& op) {
  Vec out = compute(cpu, op);
  write_vector(cpu, op, out);
}

void run_in_place(Cpu& cpu, const Op& op) {
  if (op.mask != 0) return run_vector(cpu, op);
  Vec temporary;
  const Operand& destination = op.operand[0];
  op.compute(op, gather(cpu, op, temporary), cpu.zmm[destination.index]);
  finish_register(cpu, destination.index, destination.bytes);
}

void run_narrow(Cpu& cpu, const Op& op) {
  if (op.operand[0].kind == Kind::vector) return run_vector(cpu, op);
  const Vec out = compute(cpu, op);
  const std::size_t bytes = op.operand[0].bytes;
  std::uint8_t* to = cpu.writable(address_of(cpu, op), bytes);
  if (!cpu.stop) copy_active(to, out.bytes, active_bytes(cpu, op, bytes));
}

void run_under_guest_mxcsr(Cpu& cpu, const Op& op, Handler inner) {
  if ((cpu.mxcsr & kMxcsrDefault) != kMxcsrDefault) {
    return cpu.fail(fmt::format("floating-point arithmetic while MXCSR (0x{:04x}) may trap", cpu.mxcsr));
  }
  // The arithmetic is reached only through a function pointer, so the compiler cannot move it past either setcsr.
  _mm_setcsr(cpu.mxcsr);
  inner(cpu, op);
  _mm_setcsr(kMxcsrFlush);
}

}  // namespace zenwoq::emulator
