// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Handlers of vector instructions (fetch, compute, write under a mask) and helpers to write computations with.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "tests/emulator/operation.h"

namespace zenwoq::emulator {

// The value of operand i: the register itself, or memory (with {1toN}), a general-purpose or a mask register in the low
// bytes of `temporary`.
const Vec& fetch(Cpu& cpu, const Op& op, std::size_t i, Vec& temporary);
Sources gather(Cpu& cpu, const Op& op, Vec& temporary);

// Keeps (or zeroes) the elements of `out` whose mask bit is clear, as in `base`.
void apply_mask(const Op& op, std::uint64_t mask, const Vec& base, Vec& out);

// Ends a write of `bytes` bytes to a register: what lies above them becomes zero.
void finish_register(Cpu& cpu, unsigned index, std::size_t bytes);

// Writes a whole register: what lies above `bytes` becomes zero.
void write_register(Cpu& cpu, unsigned index, std::size_t bytes, const Vec& value);

// Under the write mask to the first operand, a vector register.
void write_vector(Cpu& cpu, const Op& op, Vec& out);

// One bit for every byte of `bytes` that the write mask keeps.
std::uint64_t active_bytes(const Cpu& cpu, const Op& op, std::size_t bytes);

// Copies the bytes whose bit is set; touches no others.
void copy_active(std::uint8_t* to, const std::uint8_t* from, std::uint64_t active);

// dst = compute(...)
void run_vector(Cpu& cpu, const Op& op);
// The same for computations that may overwrite their sources.
void run_in_place(Cpu& cpu, const Op& op);
// The same; dst may be memory.
void run_narrow(Cpu& cpu, const Op& op);
// dst k = top bits of the computed elements, and the mask.
void run_to_mask(Cpu& cpu, const Op& op);
// The mask chooses between the first source and the computed value.
void run_select(Cpu& cpu, const Op& op);
// Scalar instructions: element 0 is computed, the others are the first source's.
void run_low_element(Cpu& cpu, const Op& op);
// The same, the others are the old destination's.
void run_low_of_old(Cpu& cpu, const Op& op);

// Floating-point arithmetic obeys the emulated MXCSR. The host's is kMxcsrFlush, which kernels use too, so that nothing
// has to be switched in the usual case.
void run_under_guest_mxcsr(Cpu& cpu, const Op& op, Handler inner);

template <Handler inner>
void run_float(Cpu& cpu, const Op& op) {
  if ((cpu.mxcsr & kMxcsrControl) == kMxcsrFlush) return inner(cpu, op);
  run_under_guest_mxcsr(cpu, op, inner);
}

// A result in a vector register or, for EVEX comparisons, in a mask register.
inline bool bind_compare(Op& op, const Entry& entry) {
  bind_plain(op, entry);
  if (op.operand[0].kind == Kind::mask) op.run = run_to_mask;
  return true;
}

// The source has elements of From bytes, the result of To bytes.
template <std::size_t From, std::size_t To>
bool bind_narrow(Op& op, const Entry& entry) {
  bind_plain(op, entry);
  op.result_bytes = static_cast<std::uint8_t>(op.vector_bytes / From * To);
  return true;
}

template <class T>
inline T lane(const Vec& v, std::size_t i) {
  T value;
  std::memcpy(&value, v.bytes + i * sizeof(T), sizeof(T));
  return value;
}

template <class T>
inline void set_lane(Vec& v, std::size_t i, T value) {
  std::memcpy(v.bytes + i * sizeof(T), &value, sizeof(T));
}

template <class T>
inline constexpr std::size_t kLanes = sizeof(Vec) / sizeof(T);

template <class T>
inline std::size_t active_lanes(const Op& op) {
  return op.vector_bytes / sizeof(T);
}

// Half registers are what the host has instructions for. H is __m256i or __m256.
template <class H>
inline H load_half(const Vec& v, int half) {
  H value;
  std::memcpy(&value, v.bytes + half * 32, 32);
  return value;
}

template <class H>
inline void store_half(Vec& v, int half, H value) {
  std::memcpy(v.bytes + half * 32, &value, 32);
}

// Computations from lambdas over halves; right for every instruction that keeps to its 128-bit lanes. A half is written
// only after it was read, so the result may go straight to the destination.
template <class H, class F>
void compute_one(const Op&, const Sources& s, Vec& out) {
  for (int h = 0; h < 2; ++h) store_half<H>(out, h, F{}(load_half<H>(*s.a, h)));
}

template <class H, class F>
void compute_two(const Op&, const Sources& s, Vec& out) {
  for (int h = 0; h < 2; ++h) {
    store_half<H>(out, h, F{}(load_half<H>(*s.a, h), load_half<H>(*s.b, h)));
  }
}

// The old destination is the first argument.
template <class H, class F>
void compute_three(const Op&, const Sources& s, Vec& out) {
  for (int h = 0; h < 2; ++h) {
    store_half<H>(out, h, F{}(load_half<H>(*s.old, h), load_half<H>(*s.a, h), load_half<H>(*s.b, h)));
  }
}

template <class F>
Entry int_one(ZydisMnemonic mnemonic, std::uint8_t element, F) {
  return {mnemonic, bind_plain, run_in_place, compute_one<__m256i, F>, element};
}

template <class F>
Entry int_two(ZydisMnemonic mnemonic, std::uint8_t element, F) {
  return {mnemonic, bind_plain, run_in_place, compute_two<__m256i, F>, element};
}

inline Entry vector_entry(ZydisMnemonic mnemonic, std::uint8_t element, Compute compute) {
  return {mnemonic, bind_plain, run_vector, compute, element};
}

}  // namespace zenwoq::emulator
