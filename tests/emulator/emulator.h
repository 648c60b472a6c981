// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// An interpreter for the instructions that kernels may consist of, with which tests run every kernel on any x86-64 host
// and see every access that it makes. Its tables are the list of permitted instructions.
//
//   std::string error;
//   auto program = Program::decode(code, &error);
//   Cpu cpu;
//   cpu.ranges = {{&args, sizeof args, false, "args"}, {y.data(), y_bytes, true, "y"}};
//   Result result = run(*program, cpu, reinterpret_cast<std::uint64_t>(&args), &error);
//
// The host needs AVX2, FMA and F16C. Not modelled: sticky exception flags of MXCSR, AF, and flags that an instruction
// leaves undefined (they keep some value). vdpbf16ps follows src/reference/arithmetic.md exactly; the payload of a NaN
// result is not guaranteed to be the hardware's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tests/emulator/cpu.h"

namespace zenwoq::emulator {

struct Op;

// Sets of instructions that a CPU has or lacks as a whole, as far as kernels tell them apart.
using Features = std::uint32_t;
inline constexpr Features kX86 = 1;     // x86-64 with the MXCSR and the prefetches of SSE
inline constexpr Features kAvx2 = 2;    // AVX, AVX2, FMA, F16C, BMI2
inline constexpr Features kAvx512 = 4;  // F, BW, DQ, VL: what has an EVEX encoding or uses mask registers
inline constexpr Features kAvx512Bf16 = 8;
inline constexpr Features kAvx512Vnni = 16;

// What kernels of a tier may use.
inline constexpr Features kAvx2Tier = kX86 | kAvx2;
inline constexpr Features kAvx512VnniTier = kAvx2Tier | kAvx512 | kAvx512Vnni;
inline constexpr Features kAvx512Bf16Tier = kAvx2Tier | kAvx512 | kAvx512Bf16;

// Code decoded once; immutable, so any number of threads may run it at the same time.
class Program {
 public:
  // Copies `code` (to an address that is a multiple of 64; RIP-relative operands refer to the copy) and decodes what is
  // reachable from its first byte. Constants and padding between or after instructions are never decoded. Returns null
  // and sets *error if reachable bytes are no instruction, if a branch or the flow leaves the code, or if instructions
  // overlap. An instruction that decodes but is not known to the emulator fails when it is run.
  static std::unique_ptr<Program> decode(std::span<const std::uint8_t> code, std::string* error);

  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  std::span<const std::uint8_t> code() const;
  const std::vector<Op>& ops() const { return ops_; }  // in the order of their offsets

  // The instruction at `offset` in Intel syntax; addresses are relative to the start of the code.
  std::string text(std::uint32_t offset) const;

 private:
  Program();

  std::vector<Vec> storage_;
  std::size_t code_bytes_ = 0;
  std::vector<Op> ops_;
};

struct Result {
  bool ok = false;
  std::uint64_t return_value = 0;  // rax
  std::uint64_t instructions = 0;  // executed
};

// Calls the program as a System V function of one argument. Fails, with all reasons in *error, on: an access outside
// cpu.ranges, the stack at or above rsp, and the code (read-only); a misaligned vmovdqa/vmovaps; an instruction that
// the emulator does not know; more than cpu.budget instructions; floating-point arithmetic while MXCSR leaves an
// exception unmasked; a callee-saved register, rsp or the MXCSR control bits changed at return; dirty upper halves at
// return (a ymm or zmm register among 0-15 written after the last vzeroupper); stack canaries overwritten. On entry
// vector registers hold signalling NaNs and all other registers garbage. *error is cleared on success.
Result run(const Program& program, Cpu& cpu, std::uint64_t arg0, std::string* error);

// Checks that need no execution; appends one text per problem. True if there was none. Beyond what decode() refuses:
// begins with endbr64; only instructions of the emulator's tables whose encodings need no more than `allowed` (so no
// call, system call, indirect jump or interrupt: they are in no table); vzeroupper right before every ret of code that
// uses ymm or zmm; no 64-bit immediate that may be an address; no masked byte shuffle of memory.
bool verify_static(const Program& program, Features allowed, std::vector<std::string>* problems);

// Takes the first error that zenwoq_emulate_entry recorded since the last call, from any thread; empty if none.
std::string take_recorded_error();

// Runs `program` on this thread with every memory access allowed, under the caller's MXCSR, for kernels that are called
// through the library, where the operands are not known. A failure is recorded, not reported to the caller.
extern "C" void zenwoq_emulate_entry(const void* args, const Program* program);

}  // namespace zenwoq::emulator
