// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The call is a few lines of hand-written machine code, as no compiler may touch a register in between.
#include "tests/support/checked_call.h"

#include <fmt/format.h>
#include <xbyak/xbyak.h>
#include <xmmintrin.h>

#include <array>
#include <cstdint>
#include <vector>

#include "src/registry/code_memory.h"

namespace zenwoq::test {
namespace {

constexpr std::uint64_t kMagic = 0x5A17C0DE00000000u;

struct Observed {
  std::uint64_t saved[6];  // rbx, rbp, r12..r15 after the call
  std::uint64_t rsp_before;
  std::uint64_t rsp_moved;
  std::uint64_t xinuse;  // XGETBV(1) after the call: bit 2 upper halves of ymm, bit 6 of zmm0-15
  std::uint64_t direction_flag;
};

// void (const void* function, const void* argument, Observed*, uint64_t garbage)
class CallCode : public Xbyak::CodeGenerator {
 public:
  CallCode(std::uint8_t* buffer, std::size_t bytes, bool xgetbv1, bool avx512) : CodeGenerator(bytes, buffer) {
    const std::array<Xbyak::Reg64, 6> saved = {rbx, rbp, r12, r13, r14, r15};
    for (const auto& reg : saved) push(reg);
    push(rdx);  // Observed; rsp is now 0 mod 16, as a call wants it
    mov(ptr[rdx + offsetof(Observed, rsp_before)], rsp);
    mov(rax, rdi);
    mov(rdi, rsi);
    for (int i = 0; i < 16; ++i) {
      vmovq(Xbyak::Xmm(i), rcx);
      avx512 ? vpbroadcastq(Xbyak::Zmm(i), Xbyak::Xmm(i)) : vpbroadcastq(Xbyak::Ymm(i), Xbyak::Xmm(i));
    }
    for (int i = 16; avx512 && i < 32; ++i) vmovdqa64(Xbyak::Zmm(i), Xbyak::Zmm(i - 16));
    vzeroupper();  // the caller's side of the contract
    for (std::size_t i = 0; i < saved.size(); ++i) mov(saved[i], kMagic + i);
    for (const auto& scratch : {rdx, rsi, r8, r9, r10, r11}) mov(scratch, rcx);
    call(rax);
    mov(rdx, ptr[rsp]);
    lea(rax, ptr[rsp]);
    sub(rax, ptr[rdx + offsetof(Observed, rsp_before)]);
    mov(ptr[rdx + offsetof(Observed, rsp_moved)], rax);
    for (std::size_t i = 0; i < saved.size(); ++i) mov(ptr[rdx + i * 8], saved[i]);
    pushfq();
    pop(rax);
    cld();
    and_(eax, 0x400);
    mov(ptr[rdx + offsetof(Observed, direction_flag)], rax);
    mov(r8, rdx);
    if (xgetbv1) {
      mov(ecx, 1);
      xgetbv();
      mov(eax, eax);
      mov(ptr[r8 + offsetof(Observed, xinuse)], rax);
    }
    add(rsp, 8);
    for (std::size_t i = saved.size(); i-- > 0;) pop(saved[i]);
    vzeroupper();
    ret();
  }
};

using CallFunction = void (*)(const void*, const void*, Observed*, std::uint64_t);

CallFunction call_function() {
  static CodeMemory memory(4096);
  static const CallFunction function = [] {
    std::vector<std::uint8_t> buffer(4096);
    CallCode code(buffer.data(), buffer.size(), __builtin_cpu_supports("xsavec"), __builtin_cpu_supports("avx512f"));
    const void* address = nullptr;
    (void)memory.add({buffer.data(), code.getSize()}, &address);
    return reinterpret_cast<CallFunction>(address);
  }();
  return function;
}

}  // namespace

std::string checked_call(const void* function, const void* argument) {
  if (call_function() == nullptr) return "no executable memory for the checked call";
  Observed observed{};
  const unsigned mxcsr = _mm_getcsr();
  call_function()(function, argument, &observed, 0x7FA0000B7FA0000Bu);
  const unsigned after = _mm_getcsr();
  _mm_setcsr(mxcsr);

  constexpr std::array<const char*, 6> kNames = {"rbx", "rbp", "r12", "r13", "r14", "r15"};
  std::string problems;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (observed.saved[i] != kMagic + i)
      problems += fmt::format("{} was {:x}, is {:x}; ", kNames[i], kMagic + i, observed.saved[i]);
  }
  if (observed.rsp_moved != 0)
    problems += fmt::format("rsp moved by {}; ", static_cast<std::int64_t>(observed.rsp_moved));
  if (after != mxcsr) problems += fmt::format("MXCSR was {:x}, is {:x}; ", mxcsr, after);
  if ((observed.xinuse & 0x44) != 0) problems += fmt::format("upper halves are dirty (XINUSE {:x}); ", observed.xinuse);
  if (observed.direction_flag != 0) problems += "the direction flag is set; ";
  return problems;
}

}  // namespace zenwoq::test
