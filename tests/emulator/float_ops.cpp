// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic of floats. All but vdpbf16ps obeys the emulated MXCSR.

#include <cmath>

#include "tests/emulator/vector.h"

namespace zenwoq::emulator {
namespace {

using F = __m256;

// acc = fma(high, high, acc), then acc = fma(low, low, acc). The hardware neither reads nor writes MXCSR: to nearest
// even, denormals are zero on both sides. That is kMxcsrFlush, the host's state while handlers run.
void dot_bf16(const Op&, const Sources& s, Vec& out) {
  const __m256i high_half = _mm256_set1_epi32(static_cast<int>(0xFFFF0000));
  for (int h = 0; h < 2; ++h) {
    const auto x = load_half<__m256i>(*s.a, h);
    const auto w = load_half<__m256i>(*s.b, h);
    const F x_high = _mm256_castsi256_ps(_mm256_and_si256(x, high_half));
    const F w_high = _mm256_castsi256_ps(_mm256_and_si256(w, high_half));
    const F x_low = _mm256_castsi256_ps(_mm256_slli_epi32(x, 16));
    const F w_low = _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
    const F first = _mm256_fmadd_ps(x_high, w_high, load_half<F>(*s.old, h));
    store_half(out, h, _mm256_fmadd_ps(x_low, w_low, first));
  }
}

// A float instruction with the packed and the scalar mnemonic.
template <class Fn>
void append_two(std::vector<Entry>& table, ZydisMnemonic packed, ZydisMnemonic scalar, Fn) {
  table.push_back({packed, bind_plain, run_float<run_in_place>, compute_two<F, Fn>, 4});
  table.push_back({scalar, bind_plain, run_float<run_low_element>, compute_two<F, Fn>, 4});
}

template <class Fn>
void append_fma(std::vector<Entry>& table, ZydisMnemonic packed, ZydisMnemonic scalar, Fn) {
  table.push_back({packed, bind_plain, run_float<run_in_place>, compute_three<F, Fn>, 4});
  table.push_back({scalar, bind_plain, run_float<run_low_of_old>, compute_three<F, Fn>, 4});
}

// The digits name the operands that are multiplied and, last, the one that is added; d is operand 1.
#define ZENWOQ_APPEND_FMA(name, intrinsic)                                      \
  append_fma(table, ZYDIS_MNEMONIC_##name##132PS, ZYDIS_MNEMONIC_##name##132SS, \
             [](F d, F a, F b) { return intrinsic(d, b, a); });                 \
  append_fma(table, ZYDIS_MNEMONIC_##name##213PS, ZYDIS_MNEMONIC_##name##213SS, \
             [](F d, F a, F b) { return intrinsic(a, d, b); });                 \
  append_fma(table, ZYDIS_MNEMONIC_##name##231PS, ZYDIS_MNEMONIC_##name##231SS, \
             [](F d, F a, F b) { return intrinsic(a, b, d); });

F round_to_integer(F x, unsigned control) {
  if ((control & 4) != 0) return _mm256_round_ps(x, _MM_FROUND_CUR_DIRECTION);
  switch (control & 3) {
    case 0: return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    case 1: return _mm256_round_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    case 2: return _mm256_round_ps(x, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    default: return _mm256_round_ps(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  }
}

void round_floats(const Op& op, const Sources& s, Vec& out) {
  for (int h = 0; h < 2; ++h) {
    store_half(out, h, round_to_integer(load_half<F>(*s.a, h), op.immediate & 7));
  }
}

// Only rounding to integers: the upper half of the immediate asks for fraction bits.
bool bind_round_scale(Op& op, const Entry& entry) {
  bind_plain(op, entry);
  return (op.immediate & 0xF0) == 0;
}

// vscalefps: a * 2^floor(b). In double the product is exact, so that the conversion is the only rounding.
void scale_floats(const Op&, const Sources& s, Vec& out) {
  for (int q = 0; q < 4; ++q) {
    __m128 a;
    __m128 b;
    std::memcpy(&a, s.a->bytes + 16 * q, 16);
    std::memcpy(&b, s.b->bytes + 16 * q, 16);
    alignas(32) double x[4];
    alignas(32) double e[4];
    _mm256_store_pd(x, _mm256_cvtps_pd(a));
    _mm256_store_pd(e, _mm256_cvtps_pd(b));
    for (int i = 0; i < 4; ++i) {
      const bool to_infinity = std::isinf(e[i]) && e[i] > 0;
      const bool to_zero = std::isinf(e[i]) && e[i] < 0;
      const double steps = std::fmin(std::fmax(std::floor(e[i]), -512.0), 512.0);
      if (std::isnan(x[i]) || std::isnan(e[i]))
        x[i] += e[i];
      else if (to_infinity)
        x[i] *= e[i];
      else if (to_zero)
        x[i] *= 0.0;
      else
        x[i] *= std::ldexp(1.0, static_cast<int>(steps));
    }
    const __m128 rounded = _mm256_cvtpd_ps(_mm256_load_pd(x));
    std::memcpy(out.bytes + 16 * q, &rounded, 16);
  }
}

void append_arithmetic(std::vector<Entry>& table) {
  append_two(table, ZYDIS_MNEMONIC_VADDPS, ZYDIS_MNEMONIC_VADDSS, [](F a, F b) { return _mm256_add_ps(a, b); });
  append_two(table, ZYDIS_MNEMONIC_VSUBPS, ZYDIS_MNEMONIC_VSUBSS, [](F a, F b) { return _mm256_sub_ps(a, b); });
  append_two(table, ZYDIS_MNEMONIC_VMULPS, ZYDIS_MNEMONIC_VMULSS, [](F a, F b) { return _mm256_mul_ps(a, b); });
  append_two(table, ZYDIS_MNEMONIC_VDIVPS, ZYDIS_MNEMONIC_VDIVSS, [](F a, F b) { return _mm256_div_ps(a, b); });
  append_two(table, ZYDIS_MNEMONIC_VMINPS, ZYDIS_MNEMONIC_VMINSS, [](F a, F b) { return _mm256_min_ps(a, b); });
  append_two(table, ZYDIS_MNEMONIC_VMAXPS, ZYDIS_MNEMONIC_VMAXSS, [](F a, F b) { return _mm256_max_ps(a, b); });
  const auto horizontal = [](F a, F b) { return _mm256_hadd_ps(a, b); };
  table.push_back({ZYDIS_MNEMONIC_VHADDPS, bind_plain, run_float<run_vector>, compute_two<F, decltype(horizontal)>, 4});
  const auto root = [](F a) { return _mm256_sqrt_ps(a); };
  table.push_back({ZYDIS_MNEMONIC_VSQRTPS, bind_plain, run_float<run_vector>, compute_one<F, decltype(root)>, 4});
}

}  // namespace

std::vector<Entry> float_table() {
  std::vector<Entry> table = {
      {ZYDIS_MNEMONIC_VDPBF16PS, bind_plain, run_in_place, dot_bf16, 4},
      {ZYDIS_MNEMONIC_VROUNDPS, bind_plain, run_float<run_vector>, round_floats, 4},
      {ZYDIS_MNEMONIC_VRNDSCALEPS, bind_round_scale, run_float<run_vector>, round_floats, 4},
      {ZYDIS_MNEMONIC_VSCALEFPS, bind_plain, run_float<run_vector>, scale_floats, 4},
  };
  append_arithmetic(table);
  ZENWOQ_APPEND_FMA(VFMADD, _mm256_fmadd_ps)
  ZENWOQ_APPEND_FMA(VFMSUB, _mm256_fmsub_ps)
  ZENWOQ_APPEND_FMA(VFNMADD, _mm256_fnmadd_ps)
  ZENWOQ_APPEND_FMA(VFNMSUB, _mm256_fnmsub_ps)
  return table;
}

#undef ZENWOQ_APPEND_FMA

}  // namespace zenwoq::emulator
