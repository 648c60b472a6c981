// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Native calls go through checked_call, others through the emulator. A context's kernels are reached through a stub in
// real code memory, so that the library cannot tell the difference.
#include "tests/support/kernel_host.h"

#include <xbyak/xbyak.h>
#include <xmmintrin.h>

#include <cstdlib>

#include "src/cpu/cpu.h"
#include "tests/support/checked_call.h"

namespace zenwoq::test {

struct KernelHost::Loaded {
  KernelHost* host;
  const void* native = nullptr;
  std::unique_ptr<emulator::Program> program;
};

namespace {

std::string joined(const std::vector<std::string>& problems) {
  std::string text;
  for (const std::string& problem : problems) text += problem + "; ";
  return text;
}

// Decodes and verifies the code. If anything is wrong, returns NULL and sets *problem.
std::unique_ptr<emulator::Program> verified(std::span<const std::uint8_t> code, zenwoq_tier tier,
                                            std::string* problem) {
  const emulator::Features allowed = tier == ZENWOQ_TIER_AVX2 ? emulator::kAvx2Tier : emulator::kAvx512Bf16Tier;
  auto program = emulator::Program::decode(code, problem);
  std::vector<std::string> problems;
  if (program == nullptr || emulator::verify_static(*program, allowed, &problems)) return program;
  *problem = joined(problems);
  return nullptr;
}

}  // namespace

KernelHost::KernelHost(zenwoq_tier tier) : tier_(tier) {}
KernelHost::~KernelHost() = default;

bool KernelHost::native(zenwoq_tier tier) {
  static const CpuReport cpu = describe_cpu(probe_cpu());
  static const bool emulated = std::getenv("ZENWOQ_EMULATE") != nullptr;
  return cpu.runs(tier) && !emulated;
}

std::string KernelHost::call(const std::vector<std::uint8_t>& code, const GemmArgs& args,
                             std::vector<emulator::Range> ranges) {
  std::string problem;
  const auto program = verified(code, tier_, &problem);
  if (program == nullptr) return problem;
  if (native(tier_)) {
    const void* address = nullptr;
    const Status status = memory_.add(code, &address);
    return status.ok() ? checked_call(address, &args) : status.text();
  }
  emulator::Cpu cpu;
  cpu.ranges = std::move(ranges);
  cpu.ranges.push_back({&args, sizeof args, false, "arguments"});
  cpu.mxcsr = _mm_getcsr();
  return emulator::run(*program, cpu, reinterpret_cast<std::uint64_t>(&args), &problem).ok ? "" : problem;
}

ContextSeams KernelHost::seams() {
  return {[this](std::span<const std::uint8_t> code, const void** address) { return load(code, address); }};
}

Status KernelHost::load(std::span<const std::uint8_t> code, const void** address) {
  auto loaded = std::make_unique<Loaded>();
  loaded->host = this;
  std::string problem;
  loaded->program = verified(code, tier_, &problem);
  if (loaded->program == nullptr) {
    record(problem);
    return {ZENWOQ_ERROR_UNSUPPORTED, problem};
  }
  if (native(tier_)) {
    if (Status status = memory_.add(code, &loaded->native); !status.ok()) return status;
  }
  std::vector<std::uint8_t> stub(64);
  Xbyak::CodeGenerator emit(stub.size(), stub.data());
  emit.mov(emit.rsi, reinterpret_cast<std::uint64_t>(loaded.get()));
  emit.mov(emit.rax, reinterpret_cast<std::uint64_t>(&watched_call));
  emit.jmp(emit.rax);
  if (Status status = memory_.add({stub.data(), emit.getSize()}, address); !status.ok()) return status;
  const std::lock_guard lock(mutex_);
  loaded_.push_back(std::move(loaded));
  return {};
}

void KernelHost::watched_call(const GemmArgs* args, const Loaded* loaded) {
  if (loaded->native != nullptr) {
    if (const std::string problem = checked_call(loaded->native, args); !problem.empty()) loaded->host->record(problem);
  } else {
    emulator::zenwoq_emulate_entry(args, loaded->program.get());
  }
}

void KernelHost::record(const std::string& problem) {
  const std::lock_guard lock(mutex_);
  if (problems_.size() < 4000) problems_ += problem + "\n";
}

std::string KernelHost::take_problems() {
  const std::lock_guard lock(mutex_);
  return std::exchange(problems_, {}) + emulator::take_recorded_error();
}

}  // namespace zenwoq::test
