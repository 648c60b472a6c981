// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the AVX-512 epilogue.
#include "jit/epilogue_avx512.h"

#include "jit/panel_layout.h"

namespace zenwoq {

using Xbyak::Zmm;

EpilogueAvx512::EpilogueAvx512(Emitter& emitter, const KernelKey& key, std::vector<Zmm> free)
    : e_(emitter), key_(key), free_(std::move(free)) {}

void EpilogueAvx512::begin_strip(const Xbyak::Reg64& columns, const Xbyak::Reg64& temp) {
  e_.mov(temp.cvt32(), 0xFFFF);
  e_.bzhi(temp.cvt32(), temp.cvt32(), columns.cvt32());
  e_.kmovw(e_.k1, temp.cvt32());
}

void EpilogueAvx512::load_bias(const Xbyak::Address& bias) { e_.vmovups(bias_register(free_), bias); }

void EpilogueAvx512::scale(const Zmm& total, const Xbyak::Address& tensor_scale) {
  if (key_.epilogue.tensor_scale == ZENWOQ_TENSOR_SCALE_TIMES) {
    e_.vmulps(total, total, tensor_scale);
  } else {
    e_.vdivps(total, total, tensor_scale);
  }
}

void EpilogueAvx512::store(const Zmm& total, const Xbyak::Address& y) {
  if (key_.epilogue.bias) e_.vaddps(total, total, bias_register(free_));
  if (key_.output_type == ZENWOQ_F32) {
    e_.vmovups(y | e_.k1, total);
  } else {
    const Xbyak::Ymm rounded(total.getIdx());  // 16 bf16, to nearest even
    e_.vcvtneps2bf16(rounded, total);
    e_.vmovdqu16(y | e_.k1, rounded);
  }
}

}  // namespace zenwoq
