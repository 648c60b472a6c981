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

enum class ReferenceCode { portable, avx2_fma };  // avx2_fma: what a CPU with AVX2 and FMA runs

inline ReferenceFunction reference_gemm(ReferenceCode code) {
  return code == ReferenceCode::avx2_fma ? reference_gemm_avx2_fma : reference_gemm_portable;
}

}  // namespace zenwoq
