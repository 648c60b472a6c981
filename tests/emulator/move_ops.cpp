// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Vector instructions that move elements: loads, stores, broadcasts, shuffles, permutations, changes of width.
#include <algorithm>
#include <limits>

#include "tests/emulator/vector.h"

namespace zenwoq::emulator {
namespace {

using I = __m256i;

struct alignas(16) Block {
  std::uint8_t bytes[16];
};

void copy(const Op&, const Sources& s, Vec& out) { out = *s.a; }

// Bytes whose bit in `active` is clear are not accessed; without `zeroing` they keep what the register has.
void load_active(Cpu& cpu, const Op& op, std::uint64_t active, bool zeroing) {
  const std::uint64_t address = address_of(cpu, op);
  cpu.check_active(address, active, false);
  if (cpu.stop) return;
  Vec& target = cpu.zmm[op.operand[0].index];
  if (zeroing) target = kZeroVec;
  copy_active(target.bytes, reinterpret_cast<const std::uint8_t*>(address), active);
  finish_register(cpu, op.operand[0].index, op.operand[0].bytes);
}

void store_active(Cpu& cpu, const Op& op, std::uint64_t active, const Vec& value) {
  const std::uint64_t address = address_of(cpu, op);
  cpu.check_active(address, active, true);
  if (!cpu.stop) copy_active(reinterpret_cast<std::uint8_t*>(address), value.bytes, active);
}

bool is_aligned(Cpu& cpu, const Op& op, std::size_t bytes) {
  if (op.mnemonic == M(VMOVAPS) || op.mnemonic == M(VMOVDQA)) cpu.check_aligned(address_of(cpu, op), bytes);
  return !cpu.stop;
}

void run_load(Cpu& cpu, const Op& op) {
  const std::size_t bytes = op.operand[0].bytes;
  if (!is_aligned(cpu, op, bytes)) return;
  if (op.mask != 0) return load_active(cpu, op, active_bytes(cpu, op, bytes), op.zeroing);
  std::memcpy(cpu.zmm[op.operand[0].index].bytes, cpu.readable(address_of(cpu, op), bytes), bytes);
  finish_register(cpu, op.operand[0].index, bytes);
}

void run_store(Cpu& cpu, const Op& op) {
  const std::size_t bytes = op.operand[0].bytes;
  const Vec& value = cpu.zmm[op.operand[1].index];
  if (!is_aligned(cpu, op, bytes)) return;
  if (op.mask != 0) return store_active(cpu, op, active_bytes(cpu, op, bytes), value);
  std::memcpy(cpu.writable(address_of(cpu, op), bytes), value.bytes, bytes);
}

bool bind_move(Op& op, const Entry& entry) {
  op.compute = copy;
  op.element = entry.element;
  op.run = run_vector;
  if (op.operand[0].kind == Kind::memory) op.run = run_store;
  if (op.operand[1].kind == Kind::memory) op.run = run_load;
  return true;
}

Entry move(ZydisMnemonic mnemonic, std::uint8_t element) { return {mnemonic, bind_move, nullptr, nullptr, element}; }

// vmovd, vmovq: the kBytes low bytes, from anywhere to anywhere; the rest of a register becomes zero.
template <std::size_t kBytes>
void run_move_low(Cpu& cpu, const Op& op) {
  Vec temporary;
  Vec out = kZeroVec;
  std::memcpy(out.bytes, fetch(cpu, op, 1, temporary).bytes, kBytes);
  const Operand& destination = op.operand[0];
  if (destination.kind == Kind::vector) {
    write_register(cpu, destination.index, 16, out);
  } else if (destination.kind == Kind::gpr) {
    cpu.gpr[destination.index] = lane<std::uint64_t>(out, 0);
  } else {
    std::memcpy(cpu.writable(address_of(cpu, op), kBytes), out.bytes, kBytes);
  }
}

// vmovss between registers merges, which no kernel needs.
bool bind_move_scalar(Op& op, const Entry& entry) {
  return (op.operand[0].kind == Kind::memory || op.operand[1].kind == Kind::memory) && bind_vex(op, entry);
}

template <std::size_t kBytes>
void broadcast(const Op&, const Sources& s, Vec& out) {
  for (std::size_t at = 0; at < sizeof(Vec); at += kBytes) std::memcpy(out.bytes + at, s.a->bytes, kBytes);
}

// vpinsr and vinserti128: the low part of the second source goes to the place that the immediate names.
template <class Part>
void insert(const Op& op, const Sources& s, Vec& out) {
  out = *s.a;
  set_lane(out, op.immediate & (active_lanes<Part>(op) - 1), lane<Part>(*s.b, 0));
}

void extract_block(const Op& op, const Sources& s, Vec& out) {
  out = kZeroVec;
  set_lane(out, 0, lane<Block>(*s.a, op.immediate & 1));
}

template <class T>
void run_extract(Cpu& cpu, const Op& op) {
  const T value = lane<T>(cpu.zmm[op.operand[1].index], op.immediate & (16 / sizeof(T) - 1));
  if (op.operand[0].kind == Kind::gpr) {
    cpu.gpr[op.operand[0].index] = value;
  } else {
    std::memcpy(cpu.writable(address_of(cpu, op), sizeof value), &value, sizeof value);
  }
}

// Element i of each group of four is the one that bits 2i of the immediate name; with kTwo the upper two elements come
// from the second source.
template <class T, bool kTwo>
void shuffle(const Op& op, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<T>; ++i) {
    const Vec& from = kTwo && i % 4 >= 2 ? *s.b : *s.a;
    set_lane(out, i, lane<T>(from, i / 4 * 4 + (op.immediate >> (2 * (i % 4)) & 3)));
  }
}

// vpermilps and vpermq also have forms that take the selectors from a register, which no kernel needs.
bool bind_by_immediate(Op& op, const Entry& entry) {
  return op.operand[2].kind == Kind::immediate && bind_plain(op, entry);
}

// The eight bits of the immediate select from the second source, repeated along the vector.
template <class T>
void blend(const Op& op, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<T>; ++i) {
    set_lane<T>(out, i, lane<T>((op.immediate >> (i & 7) & 1) != 0 ? *s.b : *s.a, i));
  }
}

// vpermw, vpermd, ...: the first source holds the indices, the second the table.
template <class T>
void permute(const Op& op, const Sources& s, Vec& out) {
  const std::size_t n = active_lanes<T>(op);
  for (std::size_t i = 0; i < n; ++i) set_lane<T>(out, i, lane<T>(*s.b, lane<T>(*s.a, i) & (n - 1)));
}

// vperm2i128: each 128-bit half is one of the four halves of both sources, or zero.
void permute_blocks(const Op& op, const Sources& s, Vec& out) {
  out = kZeroVec;
  for (std::size_t i = 0; i < 2; ++i) {
    const unsigned control = op.immediate >> (4 * i) & 15;
    if ((control & 8) == 0) set_lane(out, i, lane<Block>((control & 2) != 0 ? *s.b : *s.a, control & 1));
  }
}

template <class From, class To>
void widen(const Op&, const Sources& s, Vec& out) {
  for (std::size_t i = 0; i < kLanes<To>; ++i) set_lane<To>(out, i, To{lane<From>(*s.a, i)});
}

template <class To, bool kSaturates>
void narrow(const Op& op, const Sources& s, Vec& out) {
  out = kZeroVec;
  for (std::size_t i = 0; i < active_lanes<std::int32_t>(op); ++i) {
    std::int32_t value = lane<std::int32_t>(*s.a, i);
    if (kSaturates)
      value = std::clamp<std::int32_t>(value, std::numeric_limits<To>::min(), std::numeric_limits<To>::max());
    set_lane<To>(out, i, static_cast<To>(value));
  }
}

std::vector<Entry> move_rows() {
  // clang-format off
  return {
      move(M(VMOVDQU), 1), move(M(VMOVUPS), 4), move(M(VMOVDQA), 1), move(M(VMOVAPS), 4),
      {M(VMOVSS), bind_move_scalar, run_move_low<4>},
      plain(M(VMOVD), run_move_low<4>), plain(M(VMOVQ), run_move_low<8>), row(M(VPINSRW), 2, insert<std::uint16_t>),
      row(M(VPINSRD), 4, insert<std::uint32_t>), plain(M(VPEXTRW), run_extract<std::uint16_t>),
      plain(M(VPEXTRD), run_extract<std::uint32_t>), plain(M(VPEXTRQ), run_extract<std::uint64_t>),
      row(M(VINSERTF128), 4, insert<Block>), row(M(VINSERTI128), 4, insert<Block>),
      {M(VEXTRACTF128), bind_plain, run_narrow, extract_block, 4},
      {M(VEXTRACTI128), bind_plain, run_narrow, extract_block, 4}, row(M(VPBROADCASTB), 1, broadcast<1>),
      row(M(VPBROADCASTW), 2, broadcast<2>), row(M(VPBROADCASTD), 4, broadcast<4>),
      row(M(VBROADCASTSS), 4, broadcast<4>), row(M(VBROADCASTF128), 4, broadcast<16>),
      row(M(VBROADCASTI128), 4, broadcast<16>),
  };
  // clang-format on
}

std::vector<Entry> shuffle_rows() {
  // clang-format off
  return {
      INT_TWO(VPSHUFB, 1, _mm256_shuffle_epi8), row(M(VPSHUFD), 4, shuffle<std::uint32_t, false>),
      row(M(VSHUFPS), 4, shuffle<std::uint32_t, true>),
      {M(VPERMILPS), bind_by_immediate, run_vector, shuffle<std::uint32_t, false>, 4},
      row(M(VPBLENDW), 2, blend<std::uint16_t>), row(M(VPBLENDD), 4, blend<std::uint32_t>),
      row(M(VBLENDPS), 4, blend<std::uint32_t>), row(M(VPERMD), 4, permute<std::uint32_t>),
      row(M(VPERMPS), 4, permute<std::uint32_t>),
      {M(VPERMQ), bind_by_immediate, run_vector, shuffle<std::uint64_t, false>, 8},
      row(M(VPERM2F128), 4, permute_blocks), row(M(VPERM2I128), 4, permute_blocks),
      INT_TWO(VPUNPCKLBW, 1, _mm256_unpacklo_epi8), INT_TWO(VPUNPCKHBW, 1, _mm256_unpackhi_epi8),
      INT_TWO(VPUNPCKLWD, 2, _mm256_unpacklo_epi16), INT_TWO(VPUNPCKHWD, 2, _mm256_unpackhi_epi16),
      INT_TWO(VPUNPCKLDQ, 4, _mm256_unpacklo_epi32), INT_TWO(VPUNPCKHDQ, 4, _mm256_unpackhi_epi32),
      INT_TWO(VPUNPCKLQDQ, 8, _mm256_unpacklo_epi64), INT_TWO(VPUNPCKHQDQ, 8, _mm256_unpackhi_epi64),
      INT_TWO(VPACKUSWB, 1, _mm256_packus_epi16), INT_TWO(VPACKSSDW, 2, _mm256_packs_epi32),
      INT_TWO(VPACKUSDW, 2, _mm256_packus_epi32), row(M(VPMOVZXBD), 4, widen<std::uint8_t, std::uint32_t>),
      row(M(VPMOVZXWD), 4, widen<std::uint16_t, std::uint32_t>), row(M(VPMOVSXBD), 4, widen<std::int8_t, std::int32_t>),
      row(M(VPMOVSXBW), 2, widen<std::int8_t, std::int16_t>),
      row(M(VPMOVSXWD), 4, widen<std::int16_t, std::int32_t>),
  };
  // clang-format on
}

std::vector<Entry> evex_rows() {
  return {
      move(M(VMOVDQU8), 1),
      move(M(VMOVDQU16), 2),
      move(M(VMOVDQU32), 4),
      move(M(VMOVDQU64), 8),
      row(M(VPERMW), 2, permute<std::uint16_t>),
      row(M(VBROADCASTI64X4), 8, broadcast<32>),
      {M(VPMOVDB), bind_narrow<4, 1>, run_narrow, narrow<std::uint8_t, false>, 1},
      {M(VPMOVSDB), bind_narrow<4, 1>, run_narrow, narrow<std::int8_t, true>, 1},
  };
}

}  // namespace

std::vector<Table> move_tables() { return {{kAvx2, move_rows()}, {kAvx2, shuffle_rows()}, {kAvx512, evex_rows()}}; }

}  // namespace zenwoq::emulator
