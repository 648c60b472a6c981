// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Handlers of vector instructions (fetch, compute, write under a mask), and helpers for writing computations.
#pragma once

#include <immintrin.h>

#include <type_traits>

#include "tests/emulator/operation.h"

namespace zenwoq::emulator {

// The value of operand i: the register itself; or `temporary`, with memory (by {1toN} too) or a general-purpose
// register in its low bytes.
const Vec& fetch(Cpu& cpu, const Op& op, std::size_t i, Vec& temporary);

// Ends a write of `bytes` bytes to a register: what lies above them becomes zero.
void finish_register(Cpu& cpu, unsigned index, std::size_t bytes);

// Writes a whole register: what lies above `bytes` becomes zero.
void write_register(Cpu& cpu, unsigned index, std::size_t bytes, const Vec& value);

// One bit for every byte of `bytes` that the write mask keeps.
std::uint64_t active_bytes(const Cpu& cpu, const Op& op, std::size_t bytes);

// Copies the bytes whose bit is set; touches no others.
void copy_active(std::uint8_t* to, const std::uint8_t* from, std::uint64_t active);

void run_vector(Cpu& cpu, const Op& op);    // dst = compute(...)
void run_in_place(Cpu& cpu, const Op& op);  // the same for computations that may overwrite their sources
void run_narrow(Cpu& cpu, const Op& op);    // the same; dst may be memory

// Floating-point arithmetic obeys the emulated MXCSR. The host's is kMxcsrFlush, which kernels use too, so that nothing
// has to be switched in the usual case.
void run_under_guest_mxcsr(Cpu& cpu, const Op& op, Handler inner);

template <Handler inner>
void run_float(Cpu& cpu, const Op& op) {
  if ((cpu.mxcsr & kMxcsrControl) == kMxcsrFlush) return inner(cpu, op);
  run_under_guest_mxcsr(cpu, op, inner);
}

// For rows whose other encoding does something else or needs another feature.
inline bool bind_vex(Op& op, const Entry& entry) { return !op.evex && bind_plain(op, entry); }
inline bool bind_evex(Op& op, const Entry& entry) { return op.evex && bind_plain(op, entry); }

// The source has elements of kFrom bytes, the result of kTo bytes.
template <std::size_t kFrom, std::size_t kTo>
bool bind_narrow(Op& op, const Entry& entry) {
  op.result_bytes = static_cast<std::uint8_t>(op.vector_bytes / kFrom * kTo);
  return bind_plain(op, entry);
}

template <class T>
inline constexpr std::size_t kLanes = sizeof(Vec) / sizeof(T);

template <class T>
inline std::size_t active_lanes(const Op& op) {
  return op.vector_bytes / sizeof(T);
}

// The host only needs instructions for half registers. H is __m256i or __m256.
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

// Makes an entry from a lambda over halves, which is right for every instruction that keeps to its 128-bit lanes. A
// lambda of three arguments takes the old destination first. A half is written only after it was read, so the result
// may go straight to the destination.
template <class H, class F>
void compute_halves(const Op&, const Sources& s, Vec& out) {
  for (int h = 0; h < 2; ++h) {
    const H a = load_half<H>(*s.a, h);
    if constexpr (std::is_invocable_v<F, H>) {
      store_half(out, h, F{}(a));
    } else if constexpr (std::is_invocable_v<F, H, H>) {
      store_half(out, h, F{}(a, load_half<H>(*s.b, h)));
    } else {
      store_half(out, h, F{}(load_half<H>(*s.old, h), a, load_half<H>(*s.b, h)));
    }
  }
}

// A lambda over floats obeys MXCSR.
template <class H, class F>
Entry halves(ZydisMnemonic mnemonic, std::uint8_t element, F, bool (*bind)(Op&, const Entry&) = bind_plain) {
  constexpr bool kFloat = requires(H h) { _mm256_castps_si256(h); };
  return {mnemonic, bind, kFloat ? run_float<run_in_place> : run_in_place, compute_halves<H, F>, element};
}

// Makes the row of an integer instruction from the intrinsic of its 256-bit form.
#define INT_TWO(mnemonic, element, intrinsic) \
  halves<__m256i>(ZYDIS_MNEMONIC_##mnemonic, element, [](__m256i a, __m256i b) { return intrinsic(a, b); })

inline Entry row(ZydisMnemonic mnemonic, std::uint8_t element, Compute compute) {
  return {mnemonic, bind_plain, run_vector, compute, element};
}

}  // namespace zenwoq::emulator
