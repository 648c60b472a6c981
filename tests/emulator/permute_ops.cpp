// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Vector instructions that move elements across 128-bit lanes or change their width.

#include <algorithm>
#include <limits>

#include "tests/emulator/vector.h"

namespace zenwoq::emulator {
namespace {

template <class T>
void permute(const Op& op, const Vec& index, const Vec& table, Vec& out) {
  const std::size_t n = active_lanes<T>(op);
  for (std::size_t i = 0; i < n; ++i) set_lane<T>(out, i, lane<T>(table, lane<T>(index, i) & (n - 1)));
}

// vpermw, vpermd, ...: the first source holds the indices, the second the table.
template <class T>
void permute_one(const Op& op, const Sources& s, Vec& out) {
  permute<T>(op, *s.a, *s.b, out);
}

// vpermq and vpermpd also have a form whose immediate permutes within 256 bits.
void permute_quads(const Op& op, const Sources& s, Vec& out) {
  if (op.operand[2].kind != Kind::immediate) return permute_one<std::uint64_t>(op, s, out);
  for (std::size_t i = 0; i < kLanes<std::uint64_t>; ++i) {
    const std::size_t selected = i / 4 * 4 + (op.immediate >> (2 * (i % 4)) & 3);
    set_lane(out, i, lane<std::uint64_t>(*s.a, selected));
  }
}

template <class T>
void permute_two(const Op& op, const Vec& index, const Vec& low, const Vec& high, Vec& out) {
  const std::size_t n = active_lanes<T>(op);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t selected = lane<T>(index, i) & (2 * n - 1);
    set_lane<T>(out, i, lane<T>(selected < n ? low : high, selected & (n - 1)));
  }
}

// vpermt2: the destination is the low table and is overwritten; vpermi2: it holds the indices.
template <class T>
void permute_over_table(const Op& op, const Sources& s, Vec& out) {
  permute_two<T>(op, *s.a, *s.old, *s.b, out);
}

template <class T>
void permute_over_index(const Op& op, const Sources& s, Vec& out) {
  permute_two<T>(op, *s.old, *s.a, *s.b, out);
}

// valignd, valignq: elements of first:second from the immediate on.
template <class T>
void align_elements(const Op& op, const Sources& s, Vec& out) {
  const std::size_t n = active_lanes<T>(op);
  const std::size_t shift = op.immediate & (n - 1);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t from = i + shift;
    set_lane<T>(out, i, from < n ? lane<T>(*s.b, from) : lane<T>(*s.a, from - n));
  }
}

struct Block16 {
  std::uint8_t bytes[16];
};

struct Block32 {
  std::uint8_t bytes[32];
};

// vshufi32x4 and the like: the lower half of the lanes from the first source, the rest from the second.
void shuffle_lanes(const Op& op, const Sources& s, Vec& out) {
  const std::size_t n = active_lanes<Block16>(op);
  const unsigned bits = n == 4 ? 2 : 1;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t selected = op.immediate >> (bits * i) & (n - 1);
    set_lane(out, i, lane<Block16>(i < n / 2 ? *s.a : *s.b, selected));
  }
}

// vperm2i128
void permute_lanes(const Op& op, const Sources& s, Vec& out) {
  out = kZeroVec;
  for (std::size_t i = 0; i < 2; ++i) {
    const unsigned control = op.immediate >> (4 * i) & 15;
    if ((control & 8) == 0) {
      set_lane(out, i, lane<Block16>((control & 2) != 0 ? *s.b : *s.a, control & 1));
    }
  }
}

template <class Block>
void insert(const Op& op, const Sources& s, Vec& out) {
  out = *s.a;
  set_lane(out, op.immediate & (active_lanes<Block>(op) - 1), lane<Block>(*s.b, 0));
}

template <class Block>
void extract(const Op& op, const Sources& s, Vec& out) {
  out = kZeroVec;
  set_lane(out, 0, lane<Block>(*s.a, op.immediate & (active_lanes<Block>(op) - 1)));
}

template <class Block>
Entry extraction(ZydisMnemonic mnemonic, std::uint8_t element) {
  return {mnemonic, bind_plain, run_narrow, extract<Block>, element};
}

template <class From, class To>
void widen(const Op&, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<To>; ++i) set_lane<To>(out, i, To{lane<From>(*s.a, i)});
}

template <class From, class To>
Entry widening(ZydisMnemonic mnemonic) {
  return vector_entry(mnemonic, sizeof(To), widen<From, To>);
}

template <class From, class To, bool Saturate>
void narrow(const Op& op, const Sources& s, Vec& out) {
  out = kZeroVec;
  for (std::size_t i = 0; i < active_lanes<From>(op); ++i) {
    From value = lane<From>(*s.a, i);
    if (Saturate) {
      value = std::clamp<From>(value, std::numeric_limits<To>::min(), std::numeric_limits<To>::max());
    }
    set_lane<To>(out, i, static_cast<To>(value));
  }
}

template <class From, class To, bool Saturate = false>
Entry narrowing(ZydisMnemonic mnemonic) {
  return {mnemonic, bind_narrow<sizeof(From), sizeof(To)>, run_narrow, narrow<From, To, Saturate>, sizeof(To)};
}

void append_permutations(std::vector<Entry>& table) {
  table.insert(table.end(), {
                                vector_entry(ZYDIS_MNEMONIC_VPERMW, 2, permute_one<std::uint16_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPERMD, 4, permute_one<std::uint32_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPERMPS, 4, permute_one<std::uint32_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPERMQ, 8, permute_quads),
                                vector_entry(ZYDIS_MNEMONIC_VPERMPD, 8, permute_quads),
                                vector_entry(ZYDIS_MNEMONIC_VPERMT2W, 2, permute_over_table<std::uint16_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPERMT2D, 4, permute_over_table<std::uint32_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPERMT2PS, 4, permute_over_table<std::uint32_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPERMT2Q, 8, permute_over_table<std::uint64_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPERMT2PD, 8, permute_over_table<std::uint64_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPERMI2W, 2, permute_over_index<std::uint16_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPERMI2D, 4, permute_over_index<std::uint32_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPERMI2PS, 4, permute_over_index<std::uint32_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPERMI2Q, 8, permute_over_index<std::uint64_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPERMI2PD, 8, permute_over_index<std::uint64_t>),
                                vector_entry(ZYDIS_MNEMONIC_VALIGND, 4, align_elements<std::uint32_t>),
                                vector_entry(ZYDIS_MNEMONIC_VALIGNQ, 8, align_elements<std::uint64_t>),
                                vector_entry(ZYDIS_MNEMONIC_VSHUFF32X4, 4, shuffle_lanes),
                                vector_entry(ZYDIS_MNEMONIC_VSHUFI32X4, 4, shuffle_lanes),
                                vector_entry(ZYDIS_MNEMONIC_VSHUFF64X2, 8, shuffle_lanes),
                                vector_entry(ZYDIS_MNEMONIC_VSHUFI64X2, 8, shuffle_lanes),
                                vector_entry(ZYDIS_MNEMONIC_VPERM2F128, 4, permute_lanes),
                                vector_entry(ZYDIS_MNEMONIC_VPERM2I128, 4, permute_lanes),
                            });
}

void append_parts(std::vector<Entry>& table) {
  table.insert(table.end(), {
                                vector_entry(ZYDIS_MNEMONIC_VINSERTF128, 4, insert<Block16>),
                                vector_entry(ZYDIS_MNEMONIC_VINSERTI128, 4, insert<Block16>),
                                vector_entry(ZYDIS_MNEMONIC_VINSERTF32X4, 4, insert<Block16>),
                                vector_entry(ZYDIS_MNEMONIC_VINSERTI32X4, 4, insert<Block16>),
                                vector_entry(ZYDIS_MNEMONIC_VINSERTF64X2, 8, insert<Block16>),
                                vector_entry(ZYDIS_MNEMONIC_VINSERTI64X2, 8, insert<Block16>),
                                vector_entry(ZYDIS_MNEMONIC_VINSERTF32X8, 4, insert<Block32>),
                                vector_entry(ZYDIS_MNEMONIC_VINSERTI32X8, 4, insert<Block32>),
                                vector_entry(ZYDIS_MNEMONIC_VINSERTF64X4, 8, insert<Block32>),
                                vector_entry(ZYDIS_MNEMONIC_VINSERTI64X4, 8, insert<Block32>),
                                extraction<Block16>(ZYDIS_MNEMONIC_VEXTRACTF128, 4),
                                extraction<Block16>(ZYDIS_MNEMONIC_VEXTRACTI128, 4),
                                extraction<Block16>(ZYDIS_MNEMONIC_VEXTRACTF32X4, 4),
                                extraction<Block16>(ZYDIS_MNEMONIC_VEXTRACTI32X4, 4),
                                extraction<Block16>(ZYDIS_MNEMONIC_VEXTRACTF64X2, 8),
                                extraction<Block16>(ZYDIS_MNEMONIC_VEXTRACTI64X2, 8),
                                extraction<Block32>(ZYDIS_MNEMONIC_VEXTRACTF32X8, 4),
                                extraction<Block32>(ZYDIS_MNEMONIC_VEXTRACTI32X8, 4),
                                extraction<Block32>(ZYDIS_MNEMONIC_VEXTRACTF64X4, 8),
                                extraction<Block32>(ZYDIS_MNEMONIC_VEXTRACTI64X4, 8),
                            });
}

void append_widths(std::vector<Entry>& table) {
  table.insert(table.end(), {
                                widening<std::uint8_t, std::uint16_t>(ZYDIS_MNEMONIC_VPMOVZXBW),
                                widening<std::uint8_t, std::uint32_t>(ZYDIS_MNEMONIC_VPMOVZXBD),
                                widening<std::uint8_t, std::uint64_t>(ZYDIS_MNEMONIC_VPMOVZXBQ),
                                widening<std::uint16_t, std::uint32_t>(ZYDIS_MNEMONIC_VPMOVZXWD),
                                widening<std::uint16_t, std::uint64_t>(ZYDIS_MNEMONIC_VPMOVZXWQ),
                                widening<std::uint32_t, std::uint64_t>(ZYDIS_MNEMONIC_VPMOVZXDQ),
                                widening<std::int8_t, std::int16_t>(ZYDIS_MNEMONIC_VPMOVSXBW),
                                widening<std::int8_t, std::int32_t>(ZYDIS_MNEMONIC_VPMOVSXBD),
                                widening<std::int8_t, std::int64_t>(ZYDIS_MNEMONIC_VPMOVSXBQ),
                                widening<std::int16_t, std::int32_t>(ZYDIS_MNEMONIC_VPMOVSXWD),
                                widening<std::int16_t, std::int64_t>(ZYDIS_MNEMONIC_VPMOVSXWQ),
                                widening<std::int32_t, std::int64_t>(ZYDIS_MNEMONIC_VPMOVSXDQ),
                                narrowing<std::uint16_t, std::uint8_t>(ZYDIS_MNEMONIC_VPMOVWB),
                                narrowing<std::uint32_t, std::uint8_t>(ZYDIS_MNEMONIC_VPMOVDB),
                                narrowing<std::uint32_t, std::uint16_t>(ZYDIS_MNEMONIC_VPMOVDW),
                                narrowing<std::uint64_t, std::uint8_t>(ZYDIS_MNEMONIC_VPMOVQB),
                                narrowing<std::uint64_t, std::uint16_t>(ZYDIS_MNEMONIC_VPMOVQW),
                                narrowing<std::uint64_t, std::uint32_t>(ZYDIS_MNEMONIC_VPMOVQD),
                                narrowing<std::int16_t, std::int8_t, true>(ZYDIS_MNEMONIC_VPMOVSWB),
                                narrowing<std::int32_t, std::int8_t, true>(ZYDIS_MNEMONIC_VPMOVSDB),
                                narrowing<std::int32_t, std::int16_t, true>(ZYDIS_MNEMONIC_VPMOVSDW),
                                narrowing<std::uint16_t, std::uint8_t, true>(ZYDIS_MNEMONIC_VPMOVUSWB),
                                narrowing<std::uint32_t, std::uint8_t, true>(ZYDIS_MNEMONIC_VPMOVUSDB),
                                narrowing<std::uint32_t, std::uint16_t, true>(ZYDIS_MNEMONIC_VPMOVUSDW),
                            });
}

}  // namespace

std::vector<Entry> permute_table() {
  std::vector<Entry> table;
  append_permutations(table);
  append_parts(table);
  append_widths(table);
  return table;
}

}  // namespace zenwoq::emulator
