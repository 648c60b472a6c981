// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the AVX2 epilogue.
#include "jit/epilogue_avx2.h"

#include "jit/activation_math.h"
#include "jit/number.h"

namespace zenwoq {

using Xbyak::Reg64;
using Xbyak::RegExp;
using Xbyak::Ymm;

EpilogueAvx2::EpilogueAvx2(Emitter& emitter, const KernelKey& key, std::vector<Ymm> free)
    : e_(emitter), key_(key), free_(std::move(free)) {}

void EpilogueAvx2::scale(const Ymm& low, const Ymm& high, const RegExp& tensor_scales) {
  for (const Ymm& total : {low, high}) {
    if (key_.epilogue.tensor_scale == ZENWOQ_TENSOR_SCALE_TIMES) {
      e_.vmulps(total, total, e_.ptr[tensor_scales]);
    } else {
      e_.vdivps(total, total, e_.ptr[tensor_scales]);
    }
  }
}

void EpilogueAvx2::add_bias(const Ymm& low, const Ymm& high, const RegExp& bias) {
  e_.vaddps(low, low, e_.ptr[bias]);
  e_.vaddps(high, high, e_.ptr[bias + 32]);
}

// f32 -> bf16 in the low words of its lanes, to nearest even; the high words are zero. A NaN is cut off instead: it is
// quiet, so its mantissa has a bit among those that stay.
void EpilogueAvx2::round(const Ymm& value) {
  const Ymm &nan = free_[0], &increment = free_[1], &constant = free_[2];
  const auto broadcast = [this](const Ymm& to, std::uint32_t bits, const char* text) {
    e_.vbroadcastss(to, e_.dword[e_.constant(bits, text)]);
  };
  broadcast(constant, 0x7FFFFFFF, "all but the sign");
  e_.vpand(nan, value, constant);
  broadcast(constant, 0x7F800000, "infinity");
  e_.vpcmpgtd(nan, nan, constant);  // all bits set where it is a NaN
  broadcast(constant, 1, "1");
  e_.vpsrld(increment, value, 16);
  e_.vpand(increment, increment, constant);  // the last bit that stays
  broadcast(constant, 0x7FFF, "just under half of it");
  e_.vpaddd(increment, increment, constant);
  e_.vpandn(increment, nan, increment);
  e_.vpaddd(value, value, increment);
  e_.vpsrld(value, value, 16);
}

void EpilogueAvx2::store_all(const Ymm& low, const Ymm& high, const RegExp& to) {
  e_.vmovups(e_.ptr[to], low);
  if (key_.output_type == ZENWOQ_F32) e_.vmovups(e_.ptr[to + 32], high);
}

void EpilogueAvx2::store(const Ymm& low, const Ymm& high, const RegExp& y, const Reg64& columns, const Reg64& count,
                         const Reg64& temp, const RegExp& stage) {
  if (key_.output_type == ZENWOQ_BF16) {
    round(low);
    round(high);
    e_.vpackusdw(low, low, high);  // columns 0..3, 8..11 | 4..7, 12..15
    e_.vpermq(low, low, 0b11011000);
  }
  const int element = static_cast<int>(dtype_bytes(key_.output_type));
  Xbyak::Label whole, next, done;
  e_.cmp(columns, 16);
  e_.jge(whole, e_.T_NEAR);
  store_all(low, high, stage);
  e_.xor_(count.cvt32(), count.cvt32());
  e_.L(next);
  if (element == 4) {
    e_.mov(temp.cvt32(), e_.dword[stage + count * 4]);
    e_.mov(e_.dword[y + count * 4], temp.cvt32());
  } else {
    e_.mov(temp.cvt16(), e_.word[stage + count * 2]);
    e_.mov(e_.word[y + count * 2], temp.cvt16());
  }
  e_.inc(count);
  e_.cmp(count, columns);
  e_.jl(next, e_.T_NEAR);
  e_.jmp(done, e_.T_NEAR);
  e_.L(whole);
  store_all(low, high, y);
  e_.L(done);
}

void EpilogueAvx2::load_total(const Ymm& low, const Ymm& high, const EpilogueRow& row, bool up) {
  const RegExp& total = up ? row.up_total : row.total;
  e_.vmovaps(low, e_.ptr[total]);
  e_.vmovaps(high, e_.ptr[total + 32]);
  if (key_.epilogue.tensor_scale != ZENWOQ_TENSOR_SCALE_NONE) {
    scale(low, high, up ? row.up_tensor_scale : row.tensor_scale);
  }
  if (!key_.epilogue.bias) return;
  e_.mov(row.temp, e_.qword[up ? row.up_bias_slot : row.bias_slot]);
  add_bias(low, high, row.temp + row.bias_bytes);
}

// The columns that exist; those that do not have whatever the stage has.
void EpilogueAvx2::load_operand(const Ymm& low, const Ymm& high, const RegExp& from, const EpilogueRow& row) {
  const bool wide = key_.output_type == ZENWOQ_F32;
  const auto load = [&](const RegExp& at) {
    if (wide) {
      e_.vmovups(low, e_.ptr[at]);
      e_.vmovups(high, e_.ptr[at + 32]);
      return;
    }
    for (const auto& [to, half] : {std::pair(low, 0), {high, 16}}) {
      e_.vpmovzxwd(to, e_.ptr[at + half]);
      e_.vpslld(to, to, 16);
    }
  };
  Xbyak::Label whole, next, done;
  e_.cmp(row.columns, 16);
  e_.jge(whole, e_.T_NEAR);
  e_.xor_(row.count.cvt32(), row.count.cvt32());
  e_.L(next);
  if (wide) {
    e_.mov(row.temp.cvt32(), e_.dword[from + row.count * 4]);
    e_.mov(e_.dword[row.stage + row.count * 4], row.temp.cvt32());
  } else {
    e_.mov(row.temp.cvt16(), e_.word[from + row.count * 2]);
    e_.mov(e_.word[row.stage + row.count * 2], row.temp.cvt16());
  }
  e_.inc(row.count);
  e_.cmp(row.count, row.columns);
  e_.jl(next, e_.T_NEAR);
  load(row.stage);
  e_.jmp(done, e_.T_NEAR);
  e_.L(whole);
  load(from);
  e_.L(done);
}

void EpilogueAvx2::finish(const EpilogueRow& row) {
  const Ymm low(0), high(1), other_low(2), other_high(3);
  constexpr int kFirstTemp = 4;
  std::vector<Xbyak::Xmm> temps;
  for (int i = kFirstTemp; i < 16; ++i) temps.push_back(Ymm(i));
  ActivationMath math(e_, ActivationMath::Width::ymm);
  const Epilogue& epilogue = key_.epilogue;
  load_total(low, high, row, false);
  if (key_.tile.gated) load_total(other_low, other_high, row, true);
  for (const auto& [value, other] : {std::pair(low, other_low), {high, other_high}}) {
    if (epilogue.activation == ZENWOQ_ACTIVATION_SWIGLU_OAI) {
      math.swiglu_oai(value, other, temps);
    } else {
      if (epilogue.activation != ZENWOQ_ACTIVATION_NONE) math.apply(epilogue.activation, value, temps);
      if (key_.tile.gated) e_.vmulps(value, value, other);
    }
  }
  if (epilogue.factor) {
    load_operand(other_low, other_high, row.operands.factor + row.operand_bytes, row);
    e_.vmulps(low, low, other_low);
    e_.vmulps(high, high, other_high);
  }
  for (std::uint32_t i = 0; i < epilogue.residuals; ++i) {
    load_operand(other_low, other_high, row.operands.residual[i] + row.operand_bytes, row);
    e_.vaddps(low, low, other_low);
    e_.vaddps(high, high, other_high);
  }
  store(low, high, row.y, row.columns, row.count, row.temp, row.stage);
}

}  // namespace zenwoq
