// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Vector instructions that treat every element alike: integer arithmetic, logic, shifts.

#include <algorithm>

#include "tests/emulator/vector.h"

namespace zenwoq::emulator {
namespace {

using I = __m256i;
using C = __m128i;

// Bit `row` of the immediate is the result where the bits of the three operands spell `row`.
void ternary_logic(const Op& op, const Sources& s, Vec& out) {
  for (int h = 0; h < 2; ++h) {
    const auto x = load_half<I>(*s.old, h);
    const auto y = load_half<I>(*s.a, h);
    const auto z = load_half<I>(*s.b, h);
    const I ones = _mm256_set1_epi32(-1);
    I result = _mm256_setzero_si256();
    for (int row = 0; row < 8; ++row) {
      if ((op.immediate >> row & 1) == 0) continue;
      const I x_matches = (row & 4) != 0 ? x : _mm256_xor_si256(x, ones);
      const I y_matches = (row & 2) != 0 ? y : _mm256_xor_si256(y, ones);
      const I z_matches = (row & 1) != 0 ? z : _mm256_xor_si256(z, ones);
      const I matches = _mm256_and_si256(x_matches, _mm256_and_si256(y_matches, z_matches));
      result = _mm256_or_si256(result, matches);
    }
    store_half(out, h, result);
  }
}

// One count for all elements: the immediate or the low 64 bits of the second source.
std::uint64_t common_count(const Op& op, const Sources& s) {
  return op.operand[2].kind == Kind::immediate ? op.immediate & 0xFF : lane<std::uint64_t>(*s.b, 0);
}

struct Left {
  template <class T>
  static T apply(T a, std::uint64_t count) {
    return count >= 8 * sizeof(T) ? T{0} : static_cast<T>(a << count);
  }
};

struct Right {
  template <class T>
  static T apply(T a, std::uint64_t count) {
    return count >= 8 * sizeof(T) ? T{0} : static_cast<T>(a >> count);
  }
};

struct RightArithmetic {
  template <class T>
  static T apply(T a, std::uint64_t count) {
    const auto most = std::min<std::uint64_t>(count, 8 * sizeof(T) - 1);
    return static_cast<T>(static_cast<std::make_signed_t<T>>(a) >> most);
  }
};

template <bool ToLeft>
struct Rotate {
  template <class T>
  static T apply(T a, std::uint64_t count) {
    constexpr unsigned bits = 8 * sizeof(T);
    const unsigned left = (ToLeft ? count : bits - count % bits) % bits;
    return left == 0 ? a : static_cast<T>(a << left | a >> (bits - left));
  }
};

template <class T, class S>
void shift_common(const Op& op, const Sources& s, Vec& out) {
  const std::uint64_t count = common_count(op, s);
  for (std::size_t i = 0; i < kLanes<T>; ++i) set_lane<T>(out, i, S::apply(lane<T>(*s.a, i), count));
}

template <class T, class S>
void shift_each(const Op&, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<T>; ++i) {
    set_lane<T>(out, i, S::apply(lane<T>(*s.a, i), lane<T>(*s.b, i)));
  }
}

// Where AVX2 has the shift. A count beyond the width gives what the interpreted instruction gives.
template <class F>
void shift_halves(const Op& op, const Sources& s, Vec& out) {
  const __m128i count = _mm_cvtsi64_si128(static_cast<std::int64_t>(common_count(op, s)));
  for (int h = 0; h < 2; ++h) store_half<I>(out, h, F{}(load_half<I>(*s.a, h), count));
}

template <class F>
Entry shift(ZydisMnemonic mnemonic, std::uint8_t element, F) {
  return {mnemonic, bind_plain, run_in_place, shift_halves<F>, element};
}

template <class T>
void absolute(const Op&, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<T>; ++i) {
    const T value = lane<T>(*s.a, i);
    set_lane<T>(out, i, Right::apply(value, 8 * sizeof(T) - 1) != 0 ? static_cast<T>(-value) : value);
  }
}

// AVX2 has no 64-bit form of these.
template <class T, class F>
void each_two(const Op&, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<T>; ++i) {
    set_lane<T>(out, i, static_cast<T>(F{}(lane<T>(*s.a, i), lane<T>(*s.b, i))));
  }
}

template <class T, class F>
Entry wide_two(ZydisMnemonic mnemonic, F) {
  return vector_entry(mnemonic, sizeof(T), each_two<T, F>);
}

void append_logic(std::vector<Entry>& table) {
  const auto andf = [](I a, I b) { return _mm256_and_si256(a, b); };
  const auto andnotf = [](I a, I b) { return _mm256_andnot_si256(a, b); };
  const auto orf = [](I a, I b) { return _mm256_or_si256(a, b); };
  const auto xorf = [](I a, I b) { return _mm256_xor_si256(a, b); };
  table.insert(table.end(), {
                                int_two(ZYDIS_MNEMONIC_VPAND, 4, andf),
                                int_two(ZYDIS_MNEMONIC_VPANDD, 4, andf),
                                int_two(ZYDIS_MNEMONIC_VPANDQ, 8, andf),
                                int_two(ZYDIS_MNEMONIC_VANDPS, 4, andf),
                                int_two(ZYDIS_MNEMONIC_VANDPD, 8, andf),
                                int_two(ZYDIS_MNEMONIC_VPANDN, 4, andnotf),
                                int_two(ZYDIS_MNEMONIC_VPANDND, 4, andnotf),
                                int_two(ZYDIS_MNEMONIC_VPANDNQ, 8, andnotf),
                                int_two(ZYDIS_MNEMONIC_VANDNPS, 4, andnotf),
                                int_two(ZYDIS_MNEMONIC_VANDNPD, 8, andnotf),
                                int_two(ZYDIS_MNEMONIC_VPOR, 4, orf),
                                int_two(ZYDIS_MNEMONIC_VPORD, 4, orf),
                                int_two(ZYDIS_MNEMONIC_VPORQ, 8, orf),
                                int_two(ZYDIS_MNEMONIC_VORPS, 4, orf),
                                int_two(ZYDIS_MNEMONIC_VORPD, 8, orf),
                                int_two(ZYDIS_MNEMONIC_VPXOR, 4, xorf),
                                int_two(ZYDIS_MNEMONIC_VPXORD, 4, xorf),
                                int_two(ZYDIS_MNEMONIC_VPXORQ, 8, xorf),
                                int_two(ZYDIS_MNEMONIC_VXORPS, 4, xorf),
                                int_two(ZYDIS_MNEMONIC_VXORPD, 8, xorf),
                                {ZYDIS_MNEMONIC_VPTERNLOGD, bind_plain, run_in_place, ternary_logic, 4},
                                {ZYDIS_MNEMONIC_VPTERNLOGQ, bind_plain, run_in_place, ternary_logic, 8},
                            });
}

void append_shifts(std::vector<Entry>& table) {
  table.insert(table.end(), {
                                shift(ZYDIS_MNEMONIC_VPSLLW, 2, [](I a, C n) { return _mm256_sll_epi16(a, n); }),
                                shift(ZYDIS_MNEMONIC_VPSLLD, 4, [](I a, C n) { return _mm256_sll_epi32(a, n); }),
                                shift(ZYDIS_MNEMONIC_VPSLLQ, 8, [](I a, C n) { return _mm256_sll_epi64(a, n); }),
                                shift(ZYDIS_MNEMONIC_VPSRLW, 2, [](I a, C n) { return _mm256_srl_epi16(a, n); }),
                                shift(ZYDIS_MNEMONIC_VPSRLD, 4, [](I a, C n) { return _mm256_srl_epi32(a, n); }),
                                shift(ZYDIS_MNEMONIC_VPSRLQ, 8, [](I a, C n) { return _mm256_srl_epi64(a, n); }),
                                shift(ZYDIS_MNEMONIC_VPSRAW, 2, [](I a, C n) { return _mm256_sra_epi16(a, n); }),
                                shift(ZYDIS_MNEMONIC_VPSRAD, 4, [](I a, C n) { return _mm256_sra_epi32(a, n); }),
                                vector_entry(ZYDIS_MNEMONIC_VPSRAQ, 8, shift_common<std::uint64_t, RightArithmetic>),
                                vector_entry(ZYDIS_MNEMONIC_VPROLD, 4, shift_common<std::uint32_t, Rotate<true>>),
                                vector_entry(ZYDIS_MNEMONIC_VPROLQ, 8, shift_common<std::uint64_t, Rotate<true>>),
                                vector_entry(ZYDIS_MNEMONIC_VPRORD, 4, shift_common<std::uint32_t, Rotate<false>>),
                                vector_entry(ZYDIS_MNEMONIC_VPRORQ, 8, shift_common<std::uint64_t, Rotate<false>>),
                                vector_entry(ZYDIS_MNEMONIC_VPSLLVW, 2, shift_each<std::uint16_t, Left>),
                                int_two(ZYDIS_MNEMONIC_VPSLLVD, 4, [](I a, I n) { return _mm256_sllv_epi32(a, n); }),
                                int_two(ZYDIS_MNEMONIC_VPSLLVQ, 8, [](I a, I n) { return _mm256_sllv_epi64(a, n); }),
                                vector_entry(ZYDIS_MNEMONIC_VPSRLVW, 2, shift_each<std::uint16_t, Right>),
                                int_two(ZYDIS_MNEMONIC_VPSRLVD, 4, [](I a, I n) { return _mm256_srlv_epi32(a, n); }),
                                int_two(ZYDIS_MNEMONIC_VPSRLVQ, 8, [](I a, I n) { return _mm256_srlv_epi64(a, n); }),
                                vector_entry(ZYDIS_MNEMONIC_VPSRAVW, 2, shift_each<std::uint16_t, RightArithmetic>),
                                int_two(ZYDIS_MNEMONIC_VPSRAVD, 4, [](I a, I n) { return _mm256_srav_epi32(a, n); }),
                                vector_entry(ZYDIS_MNEMONIC_VPSRAVQ, 8, shift_each<std::uint64_t, RightArithmetic>),
                                vector_entry(ZYDIS_MNEMONIC_VPROLVD, 4, shift_each<std::uint32_t, Rotate<true>>),
                                vector_entry(ZYDIS_MNEMONIC_VPROLVQ, 8, shift_each<std::uint64_t, Rotate<true>>),
                                vector_entry(ZYDIS_MNEMONIC_VPRORVD, 4, shift_each<std::uint32_t, Rotate<false>>),
                                vector_entry(ZYDIS_MNEMONIC_VPRORVQ, 8, shift_each<std::uint64_t, Rotate<false>>),
                            });
}

void append_multiplications(std::vector<Entry>& table) {
  table.insert(table.end(),
               {
                   int_two(ZYDIS_MNEMONIC_VPMULLW, 2, [](I a, I b) { return _mm256_mullo_epi16(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPMULLD, 4, [](I a, I b) { return _mm256_mullo_epi32(a, b); }),
                   wide_two<std::uint64_t>(ZYDIS_MNEMONIC_VPMULLQ, [](auto a, auto b) { return a * b; }),
                   int_two(ZYDIS_MNEMONIC_VPMULHW, 2, [](I a, I b) { return _mm256_mulhi_epi16(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPMULHUW, 2, [](I a, I b) { return _mm256_mulhi_epu16(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPMULHRSW, 2, [](I a, I b) { return _mm256_mulhrs_epi16(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPMULDQ, 8, [](I a, I b) { return _mm256_mul_epi32(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPMULUDQ, 8, [](I a, I b) { return _mm256_mul_epu32(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPMADDWD, 4, [](I a, I b) { return _mm256_madd_epi16(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPMADDUBSW, 2, [](I a, I b) { return _mm256_maddubs_epi16(a, b); }),
               });
}

void append_sums(std::vector<Entry>& table) {
  table.insert(table.end(), {
                                int_two(ZYDIS_MNEMONIC_VPADDB, 1, [](I a, I b) { return _mm256_add_epi8(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPADDW, 2, [](I a, I b) { return _mm256_add_epi16(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPADDD, 4, [](I a, I b) { return _mm256_add_epi32(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPADDQ, 8, [](I a, I b) { return _mm256_add_epi64(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPSUBB, 1, [](I a, I b) { return _mm256_sub_epi8(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPSUBW, 2, [](I a, I b) { return _mm256_sub_epi16(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPSUBD, 4, [](I a, I b) { return _mm256_sub_epi32(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPSUBQ, 8, [](I a, I b) { return _mm256_sub_epi64(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPADDUSB, 1, [](I a, I b) { return _mm256_adds_epu8(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPSUBUSB, 1, [](I a, I b) { return _mm256_subs_epu8(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPADDUSW, 2, [](I a, I b) { return _mm256_adds_epu16(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPSUBUSW, 2, [](I a, I b) { return _mm256_subs_epu16(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPADDSB, 1, [](I a, I b) { return _mm256_adds_epi8(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPSUBSB, 1, [](I a, I b) { return _mm256_subs_epi8(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPADDSW, 2, [](I a, I b) { return _mm256_adds_epi16(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPSUBSW, 2, [](I a, I b) { return _mm256_subs_epi16(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPSADBW, 8, [](I a, I b) { return _mm256_sad_epu8(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPAVGB, 1, [](I a, I b) { return _mm256_avg_epu8(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPAVGW, 2, [](I a, I b) { return _mm256_avg_epu16(a, b); }),
                            });
}

void append_extremes(std::vector<Entry>& table) {
  table.insert(table.end(), {
                                int_two(ZYDIS_MNEMONIC_VPMINUB, 1, [](I a, I b) { return _mm256_min_epu8(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPMINUW, 2, [](I a, I b) { return _mm256_min_epu16(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPMINUD, 4, [](I a, I b) { return _mm256_min_epu32(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPMINSB, 1, [](I a, I b) { return _mm256_min_epi8(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPMINSW, 2, [](I a, I b) { return _mm256_min_epi16(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPMINSD, 4, [](I a, I b) { return _mm256_min_epi32(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPMAXUB, 1, [](I a, I b) { return _mm256_max_epu8(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPMAXUW, 2, [](I a, I b) { return _mm256_max_epu16(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPMAXUD, 4, [](I a, I b) { return _mm256_max_epu32(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPMAXSB, 1, [](I a, I b) { return _mm256_max_epi8(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPMAXSW, 2, [](I a, I b) { return _mm256_max_epi16(a, b); }),
                                int_two(ZYDIS_MNEMONIC_VPMAXSD, 4, [](I a, I b) { return _mm256_max_epi32(a, b); }),
                                vector_entry(ZYDIS_MNEMONIC_VPABSB, 1, absolute<std::uint8_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPABSW, 2, absolute<std::uint16_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPABSD, 4, absolute<std::uint32_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPABSQ, 8, absolute<std::uint64_t>),
                            });
}

}  // namespace

std::vector<Entry> lane_table() {
  std::vector<Entry> table;
  append_logic(table);
  append_shifts(table);
  append_multiplications(table);
  append_sums(table);
  append_extremes(table);
  return table;
}

}  // namespace zenwoq::emulator
