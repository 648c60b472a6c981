// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// How vector instructions fetch their operands and write their results.

#include "tests/emulator/vector.h"

#include <algorithm>
#include <cstdio>

namespace zenwoq::emulator {
namespace {

template <class T>
void fill(const std::uint8_t* from, Vec& out) {
  T value;
  std::memcpy(&value, from, sizeof value);
  for (std::size_t i = 0; i < kLanes<T>; ++i) set_lane<T>(out, i, value);
}

void load_broadcast(const std::uint8_t* from, std::size_t element, Vec& out) {
  switch (element) {
    case 2: return fill<std::uint16_t>(from, out);
    case 4: return fill<std::uint32_t>(from, out);
    default: return fill<std::uint64_t>(from, out);
  }
}

void load_memory(Cpu& cpu, const Op& op, std::size_t bytes, Vec& out) {
  const std::uint8_t* from = cpu.readable(address_of(cpu, op), bytes);
  if (op.broadcast != 0) return load_broadcast(from, op.broadcast, out);
  if (bytes == sizeof(Vec)) {
    std::memcpy(out.bytes, from, sizeof(Vec));
    return;
  }
  out = kZeroVec;
  std::memcpy(out.bytes, from, bytes);
}

template <class T>
void merge(std::uint64_t mask, const Vec& base, Vec& out) {
  for (std::size_t i = 0; i < kLanes<T>; ++i) {
    if ((mask >> i & 1) == 0) set_lane<T>(out, i, lane<T>(base, i));
  }
}

template <class T>
std::uint64_t top_bits(const Vec& v, std::size_t count) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < count; ++i) {
    bits |= static_cast<std::uint64_t>(lane<T>(v, i) >> (8 * sizeof(T) - 1)) << i;
  }
  return bits;
}

Vec compute(Cpu& cpu, const Op& op) {
  Vec temporary;
  Vec out;
  op.compute(op, gather(cpu, op, temporary), out);
  return out;
}

void write_low_element(Cpu& cpu, const Op& op, bool keep_old) {
  Vec temporary;
  Vec out;
  const Sources sources = gather(cpu, op, temporary);
  op.compute(op, sources, out);
  if (op.mask != 0 && (cpu.k[op.mask] & 1) == 0) {
    std::memcpy(out.bytes, (op.zeroing ? kZeroVec : *sources.old).bytes, op.element);
  }
  Vec result = keep_old ? *sources.old : *sources.a;
  std::memcpy(result.bytes, out.bytes, op.element);
  write_register(cpu, op.operand[0].index, 16, result);
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
    case Kind::mask:
      temporary = kZeroVec;
      std::memcpy(temporary.bytes, &cpu.k[operand.index], sizeof(std::uint64_t));
      return temporary;
    default: return kZeroVec;
  }
}

// At most one operand is no vector register, so one temporary is enough. An operand that does not exist has index 0.
Sources gather(Cpu& cpu, const Op& op, Vec& temporary) {
  if (op.registers_only) {
    return {&cpu.zmm[op.operand[1].index], &cpu.zmm[op.operand[2].index], &cpu.zmm[op.operand[3].index],
            &cpu.zmm[op.operand[0].index]};
  }
  const Operand& destination = op.operand[0];
  const Vec* old = destination.kind == Kind::vector ? &cpu.zmm[destination.index] : &kZeroVec;
  return {&fetch(cpu, op, 1, temporary), &fetch(cpu, op, 2, temporary), &fetch(cpu, op, 3, temporary), old};
}

void apply_mask(const Op& op, std::uint64_t mask, const Vec& base, Vec& out) {
  switch (op.element) {
    case 1: return merge<std::uint8_t>(mask, base, out);
    case 2: return merge<std::uint16_t>(mask, base, out);
    case 4: return merge<std::uint32_t>(mask, base, out);
    default: return merge<std::uint64_t>(mask, base, out);
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

void write_vector(Cpu& cpu, const Op& op, Vec& out) {
  const Operand& destination = op.operand[0];
  if (op.mask != 0) {
    const Vec& base = op.zeroing ? kZeroVec : cpu.zmm[destination.index];
    std::uint64_t mask = cpu.k[op.mask];
    // No mask bit stands for what lies above a narrowed result: it is zero, whatever was there.
    if (op.result_bytes != 0) mask |= ~std::uint64_t{0} << (op.result_bytes / op.element);
    apply_mask(op, mask, base, out);
  }
  write_register(cpu, destination.index, destination.bytes, out);
}

std::uint64_t active_bytes(const Cpu& cpu, const Op& op, std::size_t bytes) {
  const std::uint64_t all = ~std::uint64_t{0} >> (64 - bytes);
  if (op.mask == 0) return all;
  std::uint64_t active = 0;
  std::uint64_t mask = cpu.k[op.mask];
  for (std::size_t at = 0; at < bytes && mask != 0; at += op.element, mask >>= 1) {
    if ((mask & 1) != 0) active |= ((std::uint64_t{1} << op.element) - 1) << at;
  }
  return active;
}

void copy_active(std::uint8_t* to, const std::uint8_t* from, std::uint64_t active) {
  if (active == 0) return;
  const int first = __builtin_ctzll(active);
  const std::uint64_t run = active >> first;
  if ((run & (run + 1)) == 0) {
    std::memcpy(to + first, from + first, static_cast<std::size_t>(__builtin_popcountll(run)));
    return;
  }
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

void run_to_mask(Cpu& cpu, const Op& op) {
  const Vec out = compute(cpu, op);
  const std::size_t count = op.vector_bytes / op.element;
  std::uint64_t bits = 0;
  switch (op.element) {
    case 1: bits = top_bits<std::uint8_t>(out, count); break;
    case 2: bits = top_bits<std::uint16_t>(out, count); break;
    case 4: bits = top_bits<std::uint32_t>(out, count); break;
    default: bits = top_bits<std::uint64_t>(out, count); break;
  }
  cpu.k[op.operand[0].index] = op.mask == 0 ? bits : bits & cpu.k[op.mask];
}

void run_select(Cpu& cpu, const Op& op) {
  Vec temporary;
  Vec out;
  const Sources sources = gather(cpu, op, temporary);
  op.compute(op, sources, out);
  if (op.mask != 0) apply_mask(op, cpu.k[op.mask], op.zeroing ? kZeroVec : *sources.a, out);
  write_register(cpu, op.operand[0].index, op.operand[0].bytes, out);
}

void run_low_element(Cpu& cpu, const Op& op) { write_low_element(cpu, op, false); }
void run_low_of_old(Cpu& cpu, const Op& op) { write_low_element(cpu, op, true); }

void run_under_guest_mxcsr(Cpu& cpu, const Op& op, Handler inner) {
  if ((cpu.mxcsr & kMxcsrAllMasked) != kMxcsrAllMasked) {
    char text[96];
    std::snprintf(text, sizeof text, "floating-point arithmetic while MXCSR (0x%04x) may trap", cpu.mxcsr);
    return cpu.fail(text);
  }
  // The arithmetic is reached through a function pointer only, so the compiler cannot move it out from between.
  _mm_setcsr(cpu.mxcsr);
  inner(cpu, op);
  _mm_setcsr(kMxcsrFlush);
}

}  // namespace zenwoq::emulator
