// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs generated kernels under supervision: on this CPU if it has their tier, else in the emulator; with ZENWOQ_EMULATE
// in the environment always there. Either way the machine code is verified first, and each call is checked: registers,
// MXCSR, stack, vector state; in the emulator also every access.
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
  ~KernelHost();                          // contexts that use a loader of this host must be gone by then

  static bool native(zenwoq_tier tier);  // this CPU runs the kernels itself

  // Verifies the code and calls it once. `ranges` is all memory that the kernel may touch besides its stack. Returns
  // what was wrong; empty if nothing was.
  std::string call(const std::vector<std::uint8_t>& code, const GemmArgs& args, std::vector<emulator::Range> ranges);

  // A loader for a context. The kernels that it loads run under supervision, but without ranges: operands should end at
  // guard pages instead.
  ContextSeams seams();
  // What was wrong in loads and calls since the last time this was called; empty if nothing was.
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
