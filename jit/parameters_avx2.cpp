// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the parameters of AVX2 kernels.
#include "jit/parameters_avx2.h"

namespace zenwoq {

using Xbyak::RegExp;
using Xbyak::Ymm;

// Widened to f32; of two levels the bytes.
void ParametersAvx2::load_floats(const Ymm& to, zenwoq_dtype type, const RegExp& from) {
  const auto at = e_.ptr[from];
  const Xbyak::Xmm half(to.getIdx());
  switch (type) {
    case ZENWOQ_F32: e_.vmovups(to, at); break;
    case ZENWOQ_F16: e_.vcvtph2ps(to, at); break;
    case ZENWOQ_BF16:
      e_.vpmovzxwd(to, at);
      e_.vpslld(to, to, 16);
      break;
    case ZENWOQ_E8M0:  // the exponent of an f32; 0 becomes +0, as a denormal would
      e_.vpmovzxbd(to, at);
      e_.vpslld(to, to, 23);
      break;
    case ZENWOQ_E4M3:  // as an f16 whose exponent has a bias of 15 and not of 7
      e_.vpmovsxbw(half, at);
      e_.vpsllw(half, half, 7);
      e_.vpand(half, half, e_.ptr[e_.constant(kE4m3InF16, "e4m3 in f16")]);
      e_.vcvtph2ps(to, half);
      e_.vmulps(to, to, e_.ptr[e_.constant(kE4m3Factors, "256")]);
      break;
    case ZENWOQ_U8_F16:
      e_.vpmovzxbd(to, at);
      e_.vcvtdq2ps(to, to);
      break;
    case ZENWOQ_S8_F16:
      e_.vpmovsxbd(to, at);
      e_.vcvtdq2ps(to, to);
      break;
  }
}

void ParametersAvx2::load_scales(const Ymm& to, const RegExp& from, const RegExp& supers) {
  load_floats(to, format_.scale_type, from);
  if (format_.has_two_levels()) e_.vmulps(to, to, e_.ptr[supers]);
}

void ParametersAvx2::load_zeros(const Ymm& to, const RegExp& from, const RegExp& supers) {
  if (format_.has_integer_zeros()) {
    e_.vpmovsxbd(to, e_.ptr[from]);
    e_.vcvtdq2ps(to, to);
  } else if (format_.has_zeros()) {
    load_floats(to, format_.float_type(), from);
    if (format_.has_offsets() && format_.has_two_levels()) e_.vmulps(to, to, e_.ptr[supers]);
  }
}

void ParametersAvx2::flush(const Ymm& acc, const Ymm& scale, const Ymm& zero, const Ymm& xsum, const RegExp& sum_of_x,
                           const Xbyak::Operand& total) {
  if (format_.has_zeros()) e_.vbroadcastss(xsum, e_.ptr[sum_of_x]);
  if (format_.has_integer_zeros()) e_.vfmadd231ps(acc, zero, xsum);
  if (format_.has_float_zeros()) e_.vfnmadd231ps(acc, zero, xsum);
  e_.vfmadd213ps(acc, scale, total);
  if (format_.has_offsets()) e_.vfmadd231ps(acc, zero, xsum);
}

void ParametersAvx2::widen_f16(const RegExp& from, const RegExp& to, const Ymm& temp) {
  e_.vcvtph2ps(temp, e_.ptr[from]);
  e_.vmovups(e_.ptr[to], temp);
}

}  // namespace zenwoq
