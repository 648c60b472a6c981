// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The list of kernels, best first: a key is served by the first line of its tier, activations and use of scratch that
// does not refuse it.
#include <xbyak/xbyak.h>

#include <new>

#include "jit/gemm_avx2.h"
#include "jit/gemm_avx512.h"
#include "jit/jit.h"
#include "jit/scratch_avx2.h"
#include "jit/tier.h"

namespace zenwoq {
namespace {

constexpr std::size_t kMaxCodeBytes = 64 * 1024;

struct KernelClass {
  zenwoq_tier tier;
  Activation activation;
  bool scratch;  // Tile::scratch
  std::string (*why_not)(const KernelKey&);
  std::size_t (*emit)(const KernelKey&, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes);
  std::vector<RegisterUse> (*registers)(const KernelKey&);
};

constexpr KernelClass kKernels[] = {
    {ZENWOQ_TIER_AVX512BF16, Activation::bf16, false, GemmAvx512::why_not, GemmAvx512::emit, GemmAvx512::registers},
    {ZENWOQ_TIER_AVX2, Activation::bf16, false, GemmAvx2::why_not, GemmAvx2::emit, GemmAvx2::registers},
    {ZENWOQ_TIER_AVX2, Activation::bf16, true, ScratchAvx2::why_not, ScratchAvx2::emit, ScratchAvx2::registers},
};

// The kernel of a key; or NULL and why there is none.
const KernelClass* find_kernel(const KernelKey& key, std::string* reason) {
  *reason = formatted("no kernel of the tier {}{}", find_tier(key.tier)->name, key.tile.scratch ? " with scratch" : "");
  for (const KernelClass& kernel : kKernels) {
    if (kernel.tier != key.tier || kernel.activation != key.activation || kernel.scratch != key.tile.scratch) continue;
    *reason = kernel.why_not(key);
    if (reason->empty()) return &kernel;
  }
  return nullptr;
}

}  // namespace

bool has_kernels(zenwoq_tier tier) {
  for (const KernelClass& kernel : kKernels) {
    if (kernel.tier == tier) return true;
  }
  return false;
}

std::string why_not(const KernelKey& key) {
  std::string reason;
  find_kernel(key, &reason);
  return reason;
}

Status emit(const KernelKey& key, std::vector<std::uint8_t>* code, std::vector<Note>* notes) {
  std::string reason;
  const KernelClass* kernel = find_kernel(key, &reason);
  if (kernel == nullptr) return {ZENWOQ_ERROR_UNSUPPORTED, std::move(reason)};
  try {
    code->resize(kMaxCodeBytes);
    code->resize(kernel->emit(key, code->data(), code->size(), notes));
  } catch (const Xbyak::Error& error) {
    return {ZENWOQ_ERROR_UNSUPPORTED, formatted("{}: cannot be encoded: {}", key.name(), error.what())};
  } catch (const std::bad_alloc&) {
    return {ZENWOQ_ERROR_OUT_OF_MEMORY, "no memory to emit a kernel"};
  }
  return {};
}

std::vector<RegisterUse> registers(const KernelKey& key) {
  std::string reason;
  const KernelClass* kernel = find_kernel(key, &reason);
  return kernel == nullptr ? std::vector<RegisterUse>() : kernel->registers(key);
}

}  // namespace zenwoq
