// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Entry and exit of a kernel, System V x86-64, and the constants after it.
#include "jit/emitter.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "jit/mxcsr.h"

namespace zenwoq {
namespace {

// Below rbp: the caller's rbx, r12..r15, then its MXCSR.
constexpr int kSavedRegisters = 5;
constexpr int kCallerMxcsr = -8 * kSavedRegisters - 8;

constexpr std::size_t kPageBytes = 4096;

// A cache line: no constant is split, and data do not share a line with code.
constexpr std::size_t kConstantAlignment = 64;

}  // namespace

void Emitter::open_frame(std::size_t local_bytes) {
  endbr64();
  push(rbp);  // kept as the frame pointer, so that profilers see the caller
  mov(rbp, rsp);
  for (const auto& saved : {rbx, r12, r13, r14, r15}) push(saved);
  // A frame of several pages grows page by page, each touched: below the stack there may be a single guard page. (64:
  // rsp is rounded down.)
  std::size_t rest = 16 + local_bytes;
  for (; rest + 64 > kPageBytes; rest -= kPageBytes) {
    sub(rsp, static_cast<std::uint32_t>(kPageBytes));
    mov(qword[rsp], 0);
  }
  sub(rsp, static_cast<std::uint32_t>(rest));
  vstmxcsr(dword[rbp + kCallerMxcsr]);
  vldmxcsr(dword[constant(MxcsrScope::kContract, "MXCSR: flush to zero, denormals are zero, nearest even, no traps")]);
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

Xbyak::RegRip Emitter::constant(std::span<const std::uint8_t> bytes, const char* text) {
  const auto same = [&](const Constant& c) {
    return std::equal(bytes.begin(), bytes.end(), c.bytes.begin(), c.bytes.end());
  };
  auto found = std::find_if(constants_.begin(), constants_.end(), same);
  if (found == constants_.end()) {
    constants_.push_back({{bytes.begin(), bytes.end()}, text, {}});
    found = std::prev(constants_.end());
  }
  return rip + found->label;
}

Xbyak::RegRip Emitter::constant(std::uint32_t value, const char* text) {
  std::uint8_t bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  return constant(bytes, text);
}

// The widest first, so that each is aligned to its size.
void Emitter::emit_constants() {
  if (constants_.empty()) return;
  while (getSize() % kConstantAlignment != 0) int3();
  std::vector<Constant*> sorted;
  for (Constant& constant : constants_) sorted.push_back(&constant);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Constant* a, const Constant* b) { return a->bytes.size() > b->bytes.size(); });
  for (Constant* constant : sorted) {
    add_note(Note::Kind::data, "{}", constant->text);
    L(constant->label);
    db(constant->bytes.data(), constant->bytes.size());
  }
}

}  // namespace zenwoq
