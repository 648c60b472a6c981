// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The data path of AVX-512 BF16. One step is 8 k: for each strip of 16 columns 64 bytes of codes, shifted by 0, 4, 8,
// 12 bits and looked up in a table of 32 bf16 (the 16 values twice, so the fifth index bit does not matter and no mask
// is needed): four vectors of (k, k+1) pairs for vdpbf16ps.
//
// Idea: a 4-bit code needs one permute for 32 weights, and the scale is applied to the f32 sum of a group, not to each
// weight, so weights stay exact and cost nothing per weight.
#pragma once

#include <vector>

#include "jit/avx512_registers.h"
#include "jit/epilogue_avx512.h"
#include "jit/gemm.h"

namespace zenwoq {

class GemmAvx512 final : private Gemm {
 public:
  // A line of kernels.cpp; see jit.h.
  static std::string why_not(const KernelKey& key);
  static std::size_t emit(const KernelKey& key, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes);
  static std::vector<RegisterUse> registers(const KernelKey& key) { return Avx512Registers(key).uses(key); }

 private:
  GemmAvx512(const KernelKey& key, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes);

  void load_table() override;
  void load_x_tail(std::uint64_t k) override;
  void zero_totals() override;
  void zero_sums() override;
  void widen_f16(const Xbyak::RegExp& from, const Xbyak::RegExp& to) override;
  void multiply_step(std::uint32_t step, bool x_from_tail) override;
  void flush_group() override;
  void begin_strip(std::uint32_t strip, const Xbyak::Reg64& columns) override;
  void store_row(std::uint32_t row, std::uint32_t strip, const Xbyak::RegExp& y) override;
  void spill_totals(const Xbyak::RegExp& to) override;
  void finish_row(const EpilogueRow& row) override { epilogue_.finish(row); }

  void decode(std::uint32_t step, std::uint32_t strip, std::uint32_t pair, const Xbyak::Zmm& weight);
  void multiply_pair(std::uint32_t step, std::uint32_t pair, bool x_from_tail);
  void flush_accumulator(std::uint32_t row, std::uint32_t strip);
  void load_scales(std::uint32_t strip);
  void load_zeros(std::uint32_t strip);
  void load_floats(const Xbyak::Zmm& to, zenwoq_dtype type, const Xbyak::Reg64& from, std::uint32_t strip);
  void clear(const Xbyak::Zmm& vector) { vpxord(vector, vector, vector); }

  const Avx512Registers v_;
  EpilogueAvx512 epilogue_;
};

}  // namespace zenwoq
