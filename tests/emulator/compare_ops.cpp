// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Vector comparisons and tests, whose result is a vector (VEX) or a mask register (EVEX), and blends.

#include "tests/emulator/scalar.h"
#include "tests/emulator/vector.h"

namespace zenwoq::emulator {
namespace {

template <class T, class F>
void compare_lanes(const Op&, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<T>; ++i) {
    const bool holds = F{}(lane<T>(*s.a, i), lane<T>(*s.b, i));
    set_lane<T>(out, i, static_cast<T>(holds ? -1 : 0));
  }
}

template <class T, class F>
Entry comparison(ZydisMnemonic mnemonic, F) {
  return {mnemonic, bind_compare, run_vector, compare_lanes<T, F>, sizeof(T)};
}

// vpcmp{,u}{b,w,d,q}: predicates 4 to 7 negate 0 to 3.
template <class T>
void compare_by_predicate(const Op& op, const Sources& s, Vec& out) {
  const bool negate = (op.immediate & 4) != 0;
  for (std::size_t i = 0; i < kLanes<T>; ++i) {
    const T a = lane<T>(*s.a, i);
    const T b = lane<T>(*s.b, i);
    bool holds = false;
    switch (op.immediate & 3) {
      case 0: holds = a == b; break;
      case 1: holds = a < b; break;
      case 2: holds = a <= b; break;
      default: break;
    }
    set_lane<T>(out, i, static_cast<T>(holds != negate ? -1 : 0));
  }
}

template <class T>
Entry by_predicate(ZydisMnemonic mnemonic) {
  return {mnemonic, bind_compare, run_vector, compare_by_predicate<T>, sizeof(T)};
}

// The 32 predicates of vcmpps are, but for signalling, these 16 sets of outcomes.
constexpr std::uint8_t kLess = 1, kEqual = 2, kGreater = 4, kUnordered = 8;
constexpr std::uint8_t kFloatPredicates[16] = {
    kEqual,
    kLess,
    kLess | kEqual,
    kUnordered,
    kLess | kGreater | kUnordered,
    kEqual | kGreater | kUnordered,
    kGreater | kUnordered,
    kLess | kEqual | kGreater,
    kEqual | kUnordered,
    kLess | kUnordered,
    kLess | kEqual | kUnordered,
    0,
    kLess | kGreater,
    kEqual | kGreater,
    kGreater,
    kLess | kEqual | kGreater | kUnordered,
};

void compare_floats(const Op& op, const Sources& s, Vec& out) {
  const std::uint8_t wanted = kFloatPredicates[op.immediate & 15];
  for (int h = 0; h < 2; ++h) {
    const auto a = load_half<__m256>(*s.a, h);
    const auto b = load_half<__m256>(*s.b, h);
    __m256 result = _mm256_setzero_ps();
    if (wanted & kLess) result = _mm256_or_ps(result, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
    if (wanted & kEqual) result = _mm256_or_ps(result, _mm256_cmp_ps(a, b, _CMP_EQ_OQ));
    if (wanted & kGreater) result = _mm256_or_ps(result, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
    if (wanted & kUnordered) result = _mm256_or_ps(result, _mm256_cmp_ps(a, b, _CMP_UNORD_Q));
    store_half(out, h, result);
  }
}

bool bind_compare_floats(Op& op, const Entry& entry) {
  bind_plain(op, entry);
  op.run = op.operand[0].kind == Kind::mask ? run_float<run_to_mask> : run_float<run_vector>;
  return true;
}

void second(const Op&, const Sources& s, Vec& out) { out = *s.b; }

Entry select_by_mask(ZydisMnemonic mnemonic, std::uint8_t element) {
  return {mnemonic, bind_plain, run_select, second, element};
}

// The top bit of each element of the third source selects.
template <class T>
void blend_by_register(const Op&, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<T>; ++i) {
    const bool take_b = (lane<T>(*s.c, i) >> (8 * sizeof(T) - 1)) != 0;
    set_lane<T>(out, i, lane<T>(take_b ? *s.b : *s.a, i));
  }
}

// The eight bits of the immediate select, again and again.
template <class T>
void blend_by_immediate(const Op& op, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<T>; ++i) {
    const bool take_b = (op.immediate >> (i & 7) & 1) != 0;
    set_lane<T>(out, i, lane<T>(take_b ? *s.b : *s.a, i));
  }
}

// vptest: ZF if no bit is set in both, CF if every bit of the second is set in the first.
void run_test_bits(Cpu& cpu, const Op& op) {
  Vec temporary;
  const Vec& a = cpu.zmm[op.operand[0].index];
  const Vec& b = fetch(cpu, op, 1, temporary);
  std::uint64_t both = 0;
  std::uint64_t only_b = 0;
  for (std::size_t i = 0; i < active_lanes<std::uint64_t>(op); ++i) {
    both |= lane<std::uint64_t>(a, i) & lane<std::uint64_t>(b, i);
    only_b |= ~lane<std::uint64_t>(a, i) & lane<std::uint64_t>(b, i);
  }
  cpu.flags = {both == 0 ? 0 : 1, only_b == 0, false};
}

void append_blends(std::vector<Entry>& table) {
  table.insert(table.end(), {
                                select_by_mask(ZYDIS_MNEMONIC_VPBLENDMB, 1),
                                select_by_mask(ZYDIS_MNEMONIC_VPBLENDMW, 2),
                                select_by_mask(ZYDIS_MNEMONIC_VPBLENDMD, 4),
                                select_by_mask(ZYDIS_MNEMONIC_VPBLENDMQ, 8),
                                select_by_mask(ZYDIS_MNEMONIC_VBLENDMPS, 4),
                                select_by_mask(ZYDIS_MNEMONIC_VBLENDMPD, 8),
                                vector_entry(ZYDIS_MNEMONIC_VPBLENDVB, 1, blend_by_register<std::uint8_t>),
                                vector_entry(ZYDIS_MNEMONIC_VBLENDVPS, 4, blend_by_register<std::uint32_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPBLENDW, 2, blend_by_immediate<std::uint16_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPBLENDD, 4, blend_by_immediate<std::uint32_t>),
                                vector_entry(ZYDIS_MNEMONIC_VBLENDPS, 4, blend_by_immediate<std::uint32_t>),
                            });
}

}  // namespace

std::vector<Entry> compare_table() {
  const auto equal = [](auto a, auto b) { return a == b; };
  const auto greater = [](auto a, auto b) { return a > b; };
  const auto any = [](auto a, auto b) { return (a & b) != 0; };
  const auto none = [](auto a, auto b) { return (a & b) == 0; };
  std::vector<Entry> table = {
      comparison<std::uint8_t>(ZYDIS_MNEMONIC_VPCMPEQB, equal),
      comparison<std::uint16_t>(ZYDIS_MNEMONIC_VPCMPEQW, equal),
      comparison<std::uint32_t>(ZYDIS_MNEMONIC_VPCMPEQD, equal),
      comparison<std::uint64_t>(ZYDIS_MNEMONIC_VPCMPEQQ, equal),
      comparison<std::int8_t>(ZYDIS_MNEMONIC_VPCMPGTB, greater),
      comparison<std::int16_t>(ZYDIS_MNEMONIC_VPCMPGTW, greater),
      comparison<std::int32_t>(ZYDIS_MNEMONIC_VPCMPGTD, greater),
      comparison<std::int64_t>(ZYDIS_MNEMONIC_VPCMPGTQ, greater),
      comparison<std::uint8_t>(ZYDIS_MNEMONIC_VPTESTMB, any),
      comparison<std::uint16_t>(ZYDIS_MNEMONIC_VPTESTMW, any),
      comparison<std::uint32_t>(ZYDIS_MNEMONIC_VPTESTMD, any),
      comparison<std::uint64_t>(ZYDIS_MNEMONIC_VPTESTMQ, any),
      comparison<std::uint8_t>(ZYDIS_MNEMONIC_VPTESTNMB, none),
      comparison<std::uint16_t>(ZYDIS_MNEMONIC_VPTESTNMW, none),
      comparison<std::uint32_t>(ZYDIS_MNEMONIC_VPTESTNMD, none),
      comparison<std::uint64_t>(ZYDIS_MNEMONIC_VPTESTNMQ, none),
      by_predicate<std::int8_t>(ZYDIS_MNEMONIC_VPCMPB),
      by_predicate<std::int16_t>(ZYDIS_MNEMONIC_VPCMPW),
      by_predicate<std::int32_t>(ZYDIS_MNEMONIC_VPCMPD),
      by_predicate<std::int64_t>(ZYDIS_MNEMONIC_VPCMPQ),
      by_predicate<std::uint8_t>(ZYDIS_MNEMONIC_VPCMPUB),
      by_predicate<std::uint16_t>(ZYDIS_MNEMONIC_VPCMPUW),
      by_predicate<std::uint32_t>(ZYDIS_MNEMONIC_VPCMPUD),
      by_predicate<std::uint64_t>(ZYDIS_MNEMONIC_VPCMPUQ),
      {ZYDIS_MNEMONIC_VCMPPS, bind_compare_floats, nullptr, compare_floats, 4},
      plain(ZYDIS_MNEMONIC_VPTEST, run_test_bits),
  };
  append_blends(table);
  return table;
}

}  // namespace zenwoq::emulator
