// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the AVX-512 epilogue.
#include "jit/epilogue_avx512.h"

#include "jit/activation_math.h"
#include "jit/number.h"

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
  round_and_store(total, y);
}

void EpilogueAvx512::round_and_store(const Zmm& value, const Xbyak::Address& y) {
  if (key_.output_type == ZENWOQ_F32) {
    e_.vmovups(y | e_.k1, value);
  } else {
    const Xbyak::Ymm rounded(value.getIdx());  // 16 bf16, to nearest even
    e_.vcvtneps2bf16(rounded, value);
    e_.vmovdqu16(y | e_.k1, rounded);
  }
}

void EpilogueAvx512::load_total(const Zmm& to, const EpilogueRow& row, bool up) {
  e_.vmovaps(to, e_.ptr[up ? row.up_total : row.total]);
  if (key_.epilogue.tensor_scale != ZENWOQ_TENSOR_SCALE_NONE) {
    scale(to, e_.ptr_b[up ? row.up_tensor_scale : row.tensor_scale]);
  }
  if (!key_.epilogue.bias) return;
  e_.mov(row.temp, e_.qword[up ? row.up_bias_slot : row.bias_slot]);
  e_.vaddps(to, to, e_.ptr[row.temp + row.bias_bytes]);
}

// Lanes that do not exist are neither read nor do they fault.
void EpilogueAvx512::load_operand(const Zmm& to, const Xbyak::RegExp& from) {
  if (key_.output_type == ZENWOQ_F32) {
    e_.vmovups(to | e_.k1 | e_.T_z, e_.ptr[from]);
  } else {
    const Xbyak::Ymm half(to.getIdx());
    e_.vmovdqu16(half | e_.k1 | e_.T_z, e_.ptr[from]);
    e_.vpmovzxwd(to, half);
    e_.vpslld(to, to, 16);
  }
}

void EpilogueAvx512::finish(const EpilogueRow& row) {
  const Zmm value(0), other(1);
  constexpr int kFirstTemp = 2, kTemps = 29;
  std::vector<Xbyak::Xmm> temps;
  for (int i = 0; i < kTemps; ++i) temps.push_back(Zmm(kFirstTemp + i));
  ActivationMath math(e_, ActivationMath::Width::zmm);
  const Epilogue& epilogue = key_.epilogue;
  load_total(value, row, false);
  if (key_.tile.gated) load_total(other, row, true);
  if (epilogue.activation == ZENWOQ_ACTIVATION_SWIGLU_OAI) {
    math.swiglu_oai(value, other, temps);
  } else {
    if (epilogue.activation != ZENWOQ_ACTIVATION_NONE) math.apply(epilogue.activation, value, temps);
    if (key_.tile.gated) e_.vmulps(value, value, other);
  }
  if (epilogue.factor) {
    load_operand(other, row.operands.factor + row.operand_bytes);
    e_.vmulps(value, value, other);
  }
  for (std::uint32_t i = 0; i < epilogue.residuals; ++i) {
    load_operand(other, row.operands.residual[i] + row.operand_bytes);
    e_.vaddps(value, value, other);
  }
  round_and_store(value, e_.ptr[row.y]);
}

}  // namespace zenwoq
