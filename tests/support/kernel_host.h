// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs generated kernels under watch: on this CPU where it has their tier, else in the emulator. Either way the
// machine code is verified before, and each call is looked at: registers, MXCSR, stack, vector state; in the emulator
// every access.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "jit/gemm_args.h"
#include "src/registry/code_memory.h"
#include "src/run/context.h"
#include "tests/emulator/emulator.h"

namespace zenwoq::test {

class KernelHost {
 public:
  explicit KernelHost(zenwoq_tier tier);  // of the kernels that it runs
  ~KernelHost();                          // no context that has a loader of this host may live on

  static bool native(zenwoq_tier tier);  // this CPU runs the kernels itself

  // Verifies the code and calls it once. `ranges`: all memory the kernel may touch, beside its stack.
  // Empty, or what was wrong.
  std::string call(const std::vector<std::uint8_t>& code, const GemmArgs& args, std::vector<emulator::Range> ranges);

  // A loader for a context: kernels that it loads run under watch (without ranges: operands end at guard pages
  // instead).
  ContextSeams seams();
  // What was wrong in loads and calls since the last question; empty if nothing.
  std::string take_problems();

 private:
  struct Loaded;
  static void watched_call(const GemmArgs* args, const Loaded* loaded);
  Status load(std::span<const std::uint8_t> code, const void** address);
  void record(const std::string& problem);

  const zenwoq_tier tier_;
  CodeMemory memory_{std::size_t{1} << 30};
  std::mutex mutex_;
  std::string problems_;
  std::vector<std::unique_ptr<Loaded>> loaded_;
};

}  // namespace zenwoq::test
