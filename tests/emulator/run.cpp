// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// One call of a program: the state on entry, the loop, and what a function must have kept at return.
#include <fmt/format.h>
#include <xmmintrin.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "tests/emulator/operation.h"

namespace zenwoq::emulator {
namespace {

constexpr unsigned kCalleeSaved[] = {kRbx, kRbp, 12, 13, 14, 15};
constexpr const char* kGprNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr std::uint8_t kStackPoison = 0x7F;  // f32 0x7F7F7F7F, and no address if used as one
constexpr std::size_t kAboveEntry = 4096;    // bytes of the stack above the return address, which belong to callers

std::uint64_t garbage(unsigned index) { return 0xBAD0BAD0BAD00000 + 0x1111 * index; }
std::uint64_t callee_saved_value(unsigned index) { return 0x5AFE5AFE5AFE0000 + 0x0101 * index; }

// A signalling NaN as f32, and each half of it as bf16 and as f16; different in every register and element.
Vec vector_garbage(unsigned index) {
  Vec value;
  for (unsigned i = 0; i < 16; ++i) {
    const std::uint32_t half = 0x7C81 + (index & 7) + 8 * (i & 1);
    const std::uint32_t bits = (0x7FA0 + (index & 15)) << 16 | half;
    std::memcpy(value.bytes + 4 * i, &bits, 4);
  }
  return value;
}

// rsp is 8 past a multiple of 16, as after a call, but never 8 past a multiple of 64, so that code that needs more
// alignment and does not establish it is found out.
void reset_stack(Cpu& cpu) {
  std::memset(cpu.stack->bytes, kStackPoison, sizeof cpu.stack->bytes);
  const std::uint64_t end = reinterpret_cast<std::uint64_t>(cpu.stack->bytes) + sizeof cpu.stack->bytes;
  cpu.entry_rsp = end - kAboveEntry + 24;
  std::memcpy(reinterpret_cast<void*>(cpu.entry_rsp), &kReturnAddress, sizeof kReturnAddress);
  cpu.gpr[kRsp] = cpu.entry_rsp;
}

void reset(Cpu& cpu, const Program& program, std::uint64_t arg0) {
  for (unsigned i = 0; i < 16; ++i) cpu.gpr[i] = garbage(i);
  for (const unsigned i : kCalleeSaved) cpu.gpr[i] = callee_saved_value(i);
  cpu.gpr[kRdi] = arg0;
  cpu.gpr[kNoRegister] = 0;
  for (unsigned i = 0; i < 32; ++i) cpu.zmm[i] = vector_garbage(i);
  for (unsigned i = 0; i < 8; ++i) cpu.k[i] = 0xA5C35A3C96E1781E >> i;
  cpu.flags = {-1, true, true};
  cpu.pc = 0;
  cpu.upper_dirty = cpu.stop = false;
  cpu.problem.clear();
  cpu.code = {program.code().data(), program.code().size(), false, "code"};
  reset_stack(cpu);
}

// Runs until something stops the machine; returns the number of instructions. Not inlined, so that the compiler cannot
// move any of it to where the host's MXCSR is not set.
[[gnu::noinline]] std::uint64_t execute(const std::vector<Op>& ops, Cpu& cpu, std::uint32_t& last) {
  std::uint64_t left = cpu.budget;
  while (!cpu.stop) {
    if (left == 0) {
      cpu.fail(fmt::format("still running after {} instructions", cpu.budget));
      break;
    }
    --left;
    last = cpu.pc;
    const Op& op = ops[last];
    cpu.pc = op.next;
    op.run(cpu, op);
  }
  return cpu.budget - left;
}

bool canaries_intact(const Cpu& cpu) {
  const std::uint8_t* begin = cpu.stack->bytes;
  const std::uint8_t* end = begin + sizeof cpu.stack->bytes;
  const auto poison = [](std::uint8_t byte) { return byte == kStackPoison; };
  const auto* above = reinterpret_cast<const std::uint8_t*>(cpu.entry_rsp + sizeof kReturnAddress);
  return std::all_of(above, end, poison) && std::all_of(begin, begin + 4096, poison);
}

void check_kept(const Cpu& cpu, std::uint32_t entry_mxcsr, std::vector<std::string>& problems) {
  for (const unsigned i : kCalleeSaved) {
    if (cpu.gpr[i] == callee_saved_value(i)) continue;
    problems.push_back(fmt::format("{} is callee-saved and was changed to 0x{:x}", kGprNames[i], cpu.gpr[i]));
  }
  if (((cpu.mxcsr ^ entry_mxcsr) & kMxcsrControl) != 0) {
    problems.push_back(fmt::format("MXCSR is 0x{:04x} at return, was 0x{:04x}", cpu.mxcsr, entry_mxcsr));
  }
  if (cpu.upper_dirty) problems.push_back("dirty upper vector state at return: no vzeroupper");
  if (!canaries_intact(cpu)) problems.push_back("stack canaries were overwritten");
}

std::mutex recorded_mutex;
std::string recorded_error;

}  // namespace

Result run(const Program& program, Cpu& cpu, std::uint64_t arg0, std::string* error) {
  reset(cpu, program, arg0);
  const std::uint32_t entry_mxcsr = cpu.mxcsr;
  std::uint32_t last = 0;
  Result result;
  const std::uint32_t host_mxcsr = _mm_getcsr();
  _mm_setcsr(kMxcsrFlush);
  result.instructions = execute(program.ops(), cpu, last);
  _mm_setcsr(host_mxcsr);
  std::vector<std::string> problems;
  if (!cpu.problem.empty()) {
    const std::uint32_t offset = program.ops()[last].offset;
    problems.push_back(fmt::format("+0x{:x} `{}`: {}", offset, program.text(offset), cpu.problem));
  } else {
    check_kept(cpu, entry_mxcsr, problems);
  }
  result.ok = problems.empty();
  result.return_value = cpu.gpr[kRax];
  *error = fmt::format("{}", fmt::join(problems, "; "));
  return result;
}

std::string take_recorded_error() {
  const std::lock_guard lock(recorded_mutex);
  return std::exchange(recorded_error, {});
}

extern "C" void zenwoq_emulate_entry(const void* args, const Program* program) {
  thread_local Cpu cpu;
  cpu.check_ranges = false;
  cpu.mxcsr = _mm_getcsr();
  std::string error;
  if (run(*program, cpu, reinterpret_cast<std::uint64_t>(args), &error).ok) return;
  const std::lock_guard lock(recorded_mutex);
  if (recorded_error.empty()) recorded_error = error;
}

}  // namespace zenwoq::emulator
