// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Conversions between f32 and bf16, f16, integers.

#include "tests/emulator/vector.h"

namespace zenwoq::emulator {
namespace {

// As the hardware rounds, whatever MXCSR says: denormals become zero of their sign, NaN becomes quiet, the rest goes to
// nearest even.
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

// vcvtne2ps2bf16: the lower half of the result comes from the second source.
void two_to_bf16_lanes(const Op& op, const Sources& s, Vec& out) {
  const std::size_t n = active_lanes<std::uint32_t>(op);
  for (std::size_t i = 0; i < n; ++i) {
    set_lane(out, i, to_bf16(lane<std::uint32_t>(*s.b, i)));
    set_lane(out, n + i, to_bf16(lane<std::uint32_t>(*s.a, i)));
  }
}

// Exact, f16 denormals included: this conversion ignores DAZ.
void from_f16(const Op&, const Sources& s, Vec& out) {
  for (int h = 0; h < 2; ++h) {
    __m128i half;
    std::memcpy(&half, s.a->bytes + 16 * h, 16);
    store_half(out, h, _mm256_cvtph_ps(half));
  }
}

__m128i to_f16_half(__m256 x, unsigned control) {
  if ((control & 4) != 0) return _mm256_cvtps_ph(x, _MM_FROUND_CUR_DIRECTION);
  switch (control & 3) {
    case 0: return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
    case 1: return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEG_INF);
    case 2: return _mm256_cvtps_ph(x, _MM_FROUND_TO_POS_INF);
    default: return _mm256_cvtps_ph(x, _MM_FROUND_TO_ZERO);
  }
}

void to_f16(const Op& op, const Sources& s, Vec& out) {
  out = kZeroVec;
  for (int h = 0; h < 2; ++h) {
    const __m128i half = to_f16_half(load_half<__m256>(*s.a, h), op.immediate & 7);
    std::memcpy(out.bytes + 16 * h, &half, 16);
  }
  std::memset(out.bytes + op.result_bytes, 0, sizeof(Vec) - op.result_bytes);
}

template <class From, class To, class Fn>
void convert(const Op&, const Sources& s, Vec& out) {
  for (int h = 0; h < 2; ++h) store_half<To>(out, h, Fn{}(load_half<From>(*s.a, h)));
}

template <class From, class To, class Fn>
Entry conversion(ZydisMnemonic mnemonic, Fn) {
  return {mnemonic, bind_plain, run_float<run_in_place>, convert<From, To, Fn>, 4};
}

}  // namespace

std::vector<Entry> convert_table() {
  return {
      {ZYDIS_MNEMONIC_VCVTNEPS2BF16, bind_narrow<4, 2>, run_vector, to_bf16_lanes, 2},
      vector_entry(ZYDIS_MNEMONIC_VCVTNE2PS2BF16, 2, two_to_bf16_lanes),
      vector_entry(ZYDIS_MNEMONIC_VCVTPH2PS, 4, from_f16),
      {ZYDIS_MNEMONIC_VCVTPS2PH, bind_narrow<4, 2>, run_float<run_narrow>, to_f16, 2},
      conversion<__m256i, __m256>(ZYDIS_MNEMONIC_VCVTDQ2PS, [](__m256i a) { return _mm256_cvtepi32_ps(a); }),
      conversion<__m256, __m256i>(ZYDIS_MNEMONIC_VCVTPS2DQ, [](__m256 a) { return _mm256_cvtps_epi32(a); }),
      conversion<__m256, __m256i>(ZYDIS_MNEMONIC_VCVTTPS2DQ, [](__m256 a) { return _mm256_cvttps_epi32(a); }),
  };
}

}  // namespace zenwoq::emulator
