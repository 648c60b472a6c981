// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The arithmetic contract in plain C++: oracle of the tests and fallback kernel in one.
#pragma once

#include "jit/gemm_args.h"
#include "jit/key.h"

namespace zenwoq {

// What the kernel of `key` computes for rows x args.columns, for any number of rows: tile and tuning are not looked at.
using ReferenceFunction = void (*)(const KernelKey& key, std::uint64_t rows, const GemmArgs& args);

// One source file, compiled twice.
void reference_gemm_portable(const KernelKey& key, std::uint64_t rows, const GemmArgs& args);
void reference_gemm_avx2_fma(const KernelKey& key, std::uint64_t rows, const GemmArgs& args);

inline ReferenceFunction reference_gemm(bool avx2_fma) {
  return avx2_fma ? reference_gemm_avx2_fma : reference_gemm_portable;
}

// Sums of activations over each group, in the order of the contract: xsum[g * stride + row]. Used by every tier.
void sum_groups(const void* x, std::uint64_t ldx_bytes, std::uint64_t rows, std::uint64_t k, std::uint64_t group,
                float* xsum, std::uint64_t stride);

}  // namespace zenwoq
