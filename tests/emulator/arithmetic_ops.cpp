// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Vector instructions that compute: logic, shifts, arithmetic of integers and floats, conversions.
#include "tests/emulator/vector.h"

namespace zenwoq::emulator {
namespace {

using C = __m128i;
using F = __m256;
using I = __m256i;

// Bit `row` of the immediate is the result where the bits of the three operands spell `row`.
void ternary_logic(const Op& op, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<std::uint64_t>; ++i) {
    const auto x = lane<std::uint64_t>(*s.old, i);
    const auto y = lane<std::uint64_t>(*s.a, i);
    const auto z = lane<std::uint64_t>(*s.b, i);
    std::uint64_t result = 0;
    for (unsigned row = 0; row < 8; ++row) {
      if ((op.immediate >> row & 1) == 0) continue;
      result |= ((row & 4) != 0 ? x : ~x) & ((row & 2) != 0 ? y : ~y) & ((row & 1) != 0 ? z : ~z);
    }
    set_lane(out, i, result);
  }
}

// One count for all elements: the immediate or the low 64 bits of the second source. A count beyond the width gives
// what the interpreted instruction gives.
template <class Fn>
void shift_halves(const Op& op, const Sources& s, Vec& out) {
  const bool immediate = op.operand[2].kind == Kind::immediate;
  const auto count = immediate ? static_cast<std::int64_t>(op.immediate & 0xFF) : lane<std::int64_t>(*s.b, 0);
  for (int h = 0; h < 2; ++h) store_half(out, h, Fn{}(load_half<I>(*s.a, h), _mm_cvtsi64_si128(count)));
}

template <class Fn>
Entry shift(ZydisMnemonic mnemonic, std::uint8_t element, Fn) {
  return {mnemonic, bind_plain, run_in_place, shift_halves<Fn>, element};
}

// vpdpbusd: four products of an unsigned and a signed byte are added to each element; nothing saturates.
I dot_bytes(I sum, I u, I s) {
  const I low_byte = _mm256_set1_epi16(0xFF);
  const I even = _mm256_madd_epi16(_mm256_and_si256(u, low_byte), _mm256_srai_epi16(_mm256_slli_epi16(s, 8), 8));
  const I odd = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(s, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}

// acc = fma(high, high, acc), then acc = fma(low, low, acc). The hardware neither reads nor writes MXCSR: it rounds to
// nearest even and takes denormal operands and results as zero. That is kMxcsrFlush, the host's state while handlers
// run.
I dot_bf16(I acc, I x, I w) {
  const auto high = [](I pair) { return _mm256_castsi256_ps(_mm256_and_si256(pair, _mm256_set1_epi32(-0x10000))); };
  const auto low = [](I pair) { return _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16)); };
  const F first = _mm256_fmadd_ps(high(x), high(w), _mm256_castsi256_ps(acc));
  return _mm256_castps_si256(_mm256_fmadd_ps(low(x), low(w), first));
}

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
  for (int h = 0; h < 2; ++h) store_half(out, h, round_to_integer(load_half<F>(*s.a, h), op.immediate & 7));
}

// Only rounding to integers: the upper half of the immediate asks for fraction bits.
bool bind_round_scale(Op& op, const Entry& entry) { return (op.immediate & 0xF0) == 0 && bind_plain(op, entry); }

// Rounds as the hardware does, whatever MXCSR says: denormals become zeros of their sign, NaNs become quiet, all else
// goes to nearest even.
std::uint16_t to_bf16(std::uint32_t bits) {
  const std::uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude < 0x00800000) return static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  if (magnitude > 0x7F800000) return static_cast<std::uint16_t>(bits >> 16 | 0x0040);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

void to_bf16_lanes(const Op& op, const Sources& s, Vec& out) {
  out = kZeroVec;
  for (std::size_t i = 0; i < active_lanes<std::uint32_t>(op); ++i) {
    set_lane(out, i, to_bf16(lane<std::uint32_t>(*s.a, i)));
  }
}

// Exact even for f16 denormals: this conversion ignores DAZ.
void from_f16(const Op&, const Sources& s, Vec& out) {
  for (int h = 0; h < 2; ++h) {
    C half;
    std::memcpy(&half, s.a->bytes + 16 * h, 16);
    store_half(out, h, _mm256_cvtph_ps(half));
  }
}

F not_less(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_NLT_US); }

// The EVEX form: one bit of a mask register for each lane.
void run_compare_to_mask(Cpu& cpu, const Op& op) {
  Vec temporary;
  const Vec &a = fetch(cpu, op, 1, temporary), &b = fetch(cpu, op, 2, temporary);
  std::uint64_t bits = 0;
  for (int h = 0; h < 2; ++h) {
    const F result = not_less(load_half<F>(a, h), load_half<F>(b, h));
    bits |= static_cast<std::uint64_t>(_mm256_movemask_ps(result)) << (8 * h);
  }
  cpu.k[op.operand[0].index] = bits & ((std::uint64_t{1} << active_lanes<float>(op)) - 1);
}

// Only "not less than", which is true for NaN.
bool bind_compare(Op& op, const Entry& entry) {
  if (op.immediate != _CMP_NLT_US || op.mask != 0) return false;
  bind_plain(op, entry);
  if (op.evex) op.run = run_float<run_compare_to_mask>;
  return true;
}

#define SHIFT(mnemonic, element, intrinsic) \
  shift(ZYDIS_MNEMONIC_##mnemonic, element, [](I a, C n) { return intrinsic(a, n); })
#define FLOAT_TWO(mnemonic, intrinsic) halves<F>(ZYDIS_MNEMONIC_##mnemonic, 4, [](F a, F b) { return intrinsic(a, b); })

std::vector<Entry> integer_rows() {
  // clang-format off
  return {
      INT_TWO(VPAND, 4, _mm256_and_si256), INT_TWO(VANDPS, 4, _mm256_and_si256),
      INT_TWO(VPANDN, 4, _mm256_andnot_si256), INT_TWO(VANDNPS, 4, _mm256_andnot_si256),
      INT_TWO(VPOR, 4, _mm256_or_si256), INT_TWO(VORPS, 4, _mm256_or_si256), INT_TWO(VPXOR, 4, _mm256_xor_si256),
      INT_TWO(VXORPS, 4, _mm256_xor_si256), SHIFT(VPSLLW, 2, _mm256_sll_epi16), SHIFT(VPSLLD, 4, _mm256_sll_epi32),
      SHIFT(VPSRLW, 2, _mm256_srl_epi16), SHIFT(VPSRLD, 4, _mm256_srl_epi32), SHIFT(VPSRAD, 4, _mm256_sra_epi32),
      INT_TWO(VPADDB, 1, _mm256_add_epi8), INT_TWO(VPADDW, 2, _mm256_add_epi16), INT_TWO(VPADDD, 4, _mm256_add_epi32),
      INT_TWO(VPSUBB, 1, _mm256_sub_epi8), INT_TWO(VPSUBD, 4, _mm256_sub_epi32),
      INT_TWO(VPMULLD, 4, _mm256_mullo_epi32), INT_TWO(VPMADDWD, 4, _mm256_madd_epi16),
      INT_TWO(VPMADDUBSW, 2, _mm256_maddubs_epi16),
      // A comparison of the EVEX encoding writes a mask register, which no kernel needs.
      halves<I>(M(VPCMPEQD), 4, [](I a, I b) { return _mm256_cmpeq_epi32(a, b); }, bind_vex),
      halves<I>(M(VPCMPGTD), 4, [](I a, I b) { return _mm256_cmpgt_epi32(a, b); }, bind_vex),
  };
  // clang-format on
}

std::vector<Entry> float_rows() {
  return {
      FLOAT_TWO(VADDPS, _mm256_add_ps),
      FLOAT_TWO(VSUBPS, _mm256_sub_ps),
      FLOAT_TWO(VMULPS, _mm256_mul_ps),
      FLOAT_TWO(VDIVPS, _mm256_div_ps),
      FLOAT_TWO(VMINPS, _mm256_min_ps),
      FLOAT_TWO(VMAXPS, _mm256_max_ps),
      // The digits name the operands that are multiplied and, last, the one that is added; d is operand 1.
      halves<F>(M(VFMADD132PS), 4, [](F d, F a, F b) { return _mm256_fmadd_ps(d, b, a); }),
      halves<F>(M(VFMADD213PS), 4, [](F d, F a, F b) { return _mm256_fmadd_ps(a, d, b); }),
      halves<F>(M(VFMADD231PS), 4, [](F d, F a, F b) { return _mm256_fmadd_ps(a, b, d); }),
      halves<F>(M(VFNMADD231PS), 4, [](F d, F a, F b) { return _mm256_fnmadd_ps(a, b, d); }),
      halves<F>(
          M(VCMPPS), 4, [](F a, F b) { return not_less(a, b); }, bind_compare),
      {M(VROUNDPS), bind_plain, run_float<run_vector>, round_floats, 4},
      row(M(VCVTPH2PS), 4, from_f16),
      halves<F>(M(VCVTDQ2PS), 4, [](F a) { return _mm256_cvtepi32_ps(_mm256_castps_si256(a)); }),
      halves<F>(M(VCVTPS2DQ), 4, [](F a) { return _mm256_cvtps_epi32(a); }),
  };
}

std::vector<Entry> evex_rows() {
  return {
      INT_TWO(VPANDD, 4, _mm256_and_si256),
      INT_TWO(VPORD, 4, _mm256_or_si256),
      INT_TWO(VPXORD, 4, _mm256_xor_si256),
      {M(VPTERNLOGD), bind_plain, run_in_place, ternary_logic, 4},
      {M(VRNDSCALEPS), bind_round_scale, run_float<run_vector>, round_floats, 4},
  };
}

}  // namespace

std::vector<Table> arithmetic_tables() {
  const std::vector<Entry> bf16 = {
      halves<I>(M(VDPBF16PS), 4, [](I acc, I x, I w) { return dot_bf16(acc, x, w); }),
      {M(VCVTNEPS2BF16), bind_narrow<4, 2>, run_vector, to_bf16_lanes, 2},
  };
  // The VEX encoding belongs to another feature, AVX-VNNI, which Zen 4 lacks.
  const std::vector<Entry> vnni = {halves<I>(
      M(VPDPBUSD), 4, [](I sum, I u, I s) { return dot_bytes(sum, u, s); }, bind_evex)};
  return {
      {kAvx2, integer_rows()}, {kAvx2, float_rows()}, {kAvx512, evex_rows()}, {kAvx512Bf16, bf16}, {kAvx512Vnni, vnni}};
}

}  // namespace zenwoq::emulator
