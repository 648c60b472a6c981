// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Vector instructions that move elements within 128-bit lanes: shuffles, unpacks, packs, byte shifts.

#include <algorithm>

#include "tests/emulator/vector.h"

namespace zenwoq::emulator {
namespace {

using I = __m256i;

constexpr std::size_t kLaneBytes = 16;

// Element i of each lane is element pick(i) of the same lane of the first source.
template <class T, class Pick>
void pick_in_lanes(const Sources& s, Vec& out, Pick pick) {
  constexpr std::size_t n = kLaneBytes / sizeof(T);
  for (std::size_t i = 0; i < kLanes<T>; ++i) {
    set_lane<T>(out, i, lane<T>(*s.a, i / n * n + pick(i % n)));
  }
}

void shuffle_dwords(const Op& op, const Sources& s, Vec& out) {
  pick_in_lanes<std::uint32_t>(s, out, [&](std::size_t i) { return op.immediate >> (2 * i) & 3; });
}

void shuffle_low_words(const Op& op, const Sources& s, Vec& out) {
  pick_in_lanes<std::uint16_t>(s, out, [&](std::size_t i) { return i < 4 ? op.immediate >> (2 * i) & 3 : i; });
}

void shuffle_high_words(const Op& op, const Sources& s, Vec& out) {
  pick_in_lanes<std::uint16_t>(s, out,
                               [&](std::size_t i) { return i < 4 ? i : 4 + (op.immediate >> (2 * (i - 4)) & 3); });
}

// vpermilps: the selectors are the immediate or the elements of the second source.
void permute_in_lanes(const Op& op, const Sources& s, Vec& out) {
  if (op.operand[2].kind == Kind::immediate) return shuffle_dwords(op, s, out);
  for (std::size_t i = 0; i < kLanes<std::uint32_t>; ++i) {
    set_lane(out, i, lane<std::uint32_t>(*s.a, i / 4 * 4 + (lane<std::uint32_t>(*s.b, i) & 3)));
  }
}

// vshufps: two elements of the first source, then two of the second.
void shuffle_floats(const Op& op, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<std::uint32_t>; ++i) {
    const std::size_t selected = i / 4 * 4 + (op.immediate >> (2 * (i % 4)) & 3);
    set_lane(out, i, lane<std::uint32_t>(i % 4 < 2 ? *s.a : *s.b, selected));
  }
}

void shuffle_doubles(const Op& op, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<std::uint64_t>; ++i) {
    const std::size_t selected = i / 2 * 2 + (op.immediate >> i & 1);
    set_lane(out, i, lane<std::uint64_t>(i % 2 == 0 ? *s.a : *s.b, selected));
  }
}

// vpalignr: 16 bytes from first:second, shifted right by the immediate.
void align_bytes(const Op& op, const Sources& s, Vec& out) {
  const std::size_t shift = op.immediate & 0xFF;
  for (std::size_t i = 0; i < sizeof(Vec); ++i) {
    const std::size_t base = i / kLaneBytes * kLaneBytes;
    const std::size_t from = i % kLaneBytes + shift;
    std::uint8_t value = 0;
    if (from < kLaneBytes)
      value = s.b->bytes[base + from];
    else if (from < 2 * kLaneBytes)
      value = s.a->bytes[base + from - kLaneBytes];
    out.bytes[i] = value;
  }
}

template <bool Left>
void shift_bytes(const Op& op, const Sources& s, Vec& out) {
  const std::size_t shift = std::min<std::size_t>(op.immediate & 0xFF, kLaneBytes);
  out = kZeroVec;
  for (std::size_t at = 0; at < sizeof(Vec); at += kLaneBytes) {
    std::memcpy(out.bytes + at + (Left ? shift : 0), s.a->bytes + at + (Left ? 0 : shift), kLaneBytes - shift);
  }
}

// vmovhlps and vmovlhps
void high_to_low(const Op&, const Sources& s, Vec& out) {
  out = *s.a;
  set_lane(out, 0, lane<std::uint64_t>(*s.b, 1));
}

void low_to_high(const Op&, const Sources& s, Vec& out) {
  out = *s.a;
  set_lane(out, 1, lane<std::uint64_t>(*s.b, 0));
}

void append_unpacks(std::vector<Entry>& table) {
  const auto low4 = [](I a, I b) { return _mm256_unpacklo_epi32(a, b); };
  const auto high4 = [](I a, I b) { return _mm256_unpackhi_epi32(a, b); };
  const auto low8 = [](I a, I b) { return _mm256_unpacklo_epi64(a, b); };
  const auto high8 = [](I a, I b) { return _mm256_unpackhi_epi64(a, b); };
  table.insert(table.end(),
               {
                   int_two(ZYDIS_MNEMONIC_VPUNPCKLBW, 1, [](I a, I b) { return _mm256_unpacklo_epi8(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPUNPCKHBW, 1, [](I a, I b) { return _mm256_unpackhi_epi8(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPUNPCKLWD, 2, [](I a, I b) { return _mm256_unpacklo_epi16(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPUNPCKHWD, 2, [](I a, I b) { return _mm256_unpackhi_epi16(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPUNPCKLDQ, 4, low4),
                   int_two(ZYDIS_MNEMONIC_VPUNPCKHDQ, 4, high4),
                   int_two(ZYDIS_MNEMONIC_VUNPCKLPS, 4, low4),
                   int_two(ZYDIS_MNEMONIC_VUNPCKHPS, 4, high4),
                   int_two(ZYDIS_MNEMONIC_VPUNPCKLQDQ, 8, low8),
                   int_two(ZYDIS_MNEMONIC_VPUNPCKHQDQ, 8, high8),
                   int_two(ZYDIS_MNEMONIC_VUNPCKLPD, 8, low8),
                   int_two(ZYDIS_MNEMONIC_VUNPCKHPD, 8, high8),
                   int_two(ZYDIS_MNEMONIC_VPACKSSWB, 1, [](I a, I b) { return _mm256_packs_epi16(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPACKUSWB, 1, [](I a, I b) { return _mm256_packus_epi16(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPACKSSDW, 2, [](I a, I b) { return _mm256_packs_epi32(a, b); }),
                   int_two(ZYDIS_MNEMONIC_VPACKUSDW, 2, [](I a, I b) { return _mm256_packus_epi32(a, b); }),
               });
}

}  // namespace

std::vector<Entry> shuffle_table() {
  std::vector<Entry> table = {
      vector_entry(ZYDIS_MNEMONIC_VPSHUFD, 4, shuffle_dwords),
      vector_entry(ZYDIS_MNEMONIC_VPSHUFLW, 2, shuffle_low_words),
      vector_entry(ZYDIS_MNEMONIC_VPSHUFHW, 2, shuffle_high_words),
      int_two(ZYDIS_MNEMONIC_VPSHUFB, 1, [](I a, I b) { return _mm256_shuffle_epi8(a, b); }),
      vector_entry(ZYDIS_MNEMONIC_VPERMILPS, 4, permute_in_lanes),
      vector_entry(ZYDIS_MNEMONIC_VSHUFPS, 4, shuffle_floats),
      vector_entry(ZYDIS_MNEMONIC_VSHUFPD, 8, shuffle_doubles),
      vector_entry(ZYDIS_MNEMONIC_VPALIGNR, 1, align_bytes),
      vector_entry(ZYDIS_MNEMONIC_VPSLLDQ, 1, shift_bytes<true>),
      vector_entry(ZYDIS_MNEMONIC_VPSRLDQ, 1, shift_bytes<false>),
      vector_entry(ZYDIS_MNEMONIC_VMOVHLPS, 4, high_to_low),
      vector_entry(ZYDIS_MNEMONIC_VMOVLHPS, 4, low_to_high),
      int_one(ZYDIS_MNEMONIC_VMOVSHDUP, 4, [](I a) { return _mm256_shuffle_epi32(a, 0xF5); }),
      int_one(ZYDIS_MNEMONIC_VMOVSLDUP, 4, [](I a) { return _mm256_shuffle_epi32(a, 0xA0); }),
      int_one(ZYDIS_MNEMONIC_VMOVDDUP, 8, [](I a) { return _mm256_unpacklo_epi64(a, a); }),
  };
  append_unpacks(table);
  return table;
}

}  // namespace zenwoq::emulator
