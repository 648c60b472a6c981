// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Entry and exit of a kernel, System V x86-64.
#include "jit/emitter.h"

#include "jit/mxcsr.h"

namespace zenwoq {
namespace {

// Below rbp: the caller's rbx, r12..r15, then its MXCSR and ours.
constexpr int kSavedRegisters = 5;
constexpr int kCallerMxcsr = -8 * kSavedRegisters - 8;
constexpr int kOurMxcsr = kCallerMxcsr + 4;

}  // namespace

void Emitter::open_frame(std::size_t local_bytes) {
  endbr64();
  push(rbp);  // kept as the frame pointer, so that profilers see the caller
  mov(rbp, rsp);
  for (const auto& saved : {rbx, r12, r13, r14, r15}) push(saved);
  sub(rsp, static_cast<std::uint32_t>(16 + local_bytes));
  vstmxcsr(dword[rbp + kCallerMxcsr]);
  mov(dword[rbp + kOurMxcsr], MxcsrScope::kContract);
  vldmxcsr(dword[rbp + kOurMxcsr]);
  and_(rsp, -64);
}

void Emitter::close_frame() {
  vldmxcsr(dword[rbp + kCallerMxcsr]);
  lea(rsp, ptr[rbp - 8 * kSavedRegisters]);
  for (const auto& saved : {r15, r14, r13, r12, rbx}) pop(saved);
  pop(rbp);
  vzeroupper();
  ret();
}

}  // namespace zenwoq
