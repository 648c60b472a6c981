// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the two decoders.
#include "jit/decode_avx2.h"

#include <array>
#include <cstddef>

#include "jit/decode_table.h"

namespace zenwoq {

using Xbyak::RegExp;
using Xbyak::Ymm;

namespace {

template <std::uint8_t... kBytes>
constexpr std::array<std::uint8_t, 32> repeat() {
  std::array<std::uint8_t, 32> bytes{};
  constexpr std::uint8_t kPattern[] = {kBytes...};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = kPattern[i % sizeof kPattern];
  return bytes;
}
constexpr auto kNibbles = repeat<0x0F>();
constexpr auto kHighWords = repeat<0, 0, 0xFF, 0xFF>();

}  // namespace

void DecodeAvx2::load_nibble(const Xbyak::Reg64& table, std::uint32_t i) {
  constexpr const char* kNames[] = {"nibble 0", "nibble 1", "nibble 2", "nibble 3"};
  e_.vbroadcastss(r_.mask, e_.dword[e_.constant(0xFu << 4 * i, kNames[i])]);
  e_.vbroadcastss(r_.flip, e_.dword[table + offsetof(DecodeTable, flip) + i * 4]);
  e_.vbroadcastss(r_.subtract, e_.dword[table + offsetof(DecodeTable, subtract) + i * 4]);
}

void DecodeAvx2::integer(const Ymm& to, const RegExp& codes, std::uint32_t k) {
  e_.vandps(to, r_.mask, e_.ptr[codes + k % 2 * 2]);
  e_.vxorps(to, to, r_.flip);
  e_.vsubps(to, to, r_.subtract);
}

Xbyak::Address DecodeAvx2::nibbles() const { return e_.ptr[e_.constant(kNibbles, "low nibbles")]; }
Xbyak::Address DecodeAvx2::high_words() const { return e_.ptr[e_.constant(kHighWords, "high words")]; }

void DecodeAvx2::load_constants() {
  if (r_.nibbles) e_.vmovdqa(*r_.nibbles, nibbles());
  if (r_.high_words) e_.vmovdqa(*r_.high_words, high_words());
}

void DecodeAvx2::lookup(const Xbyak::Reg64& table, const RegExp& codes) {
  const auto low_nibbles = [this](const Ymm& to, const Ymm& from) {
    r_.nibbles ? e_.vpand(to, from, *r_.nibbles) : e_.vpand(to, from, nibbles());
  };
  // Looks nibbles up. out: first = (k, k + 4), second = (k + 1, k + 5) of each lane. a and b are to work with: `bytes`
  // may be b; a holds the tables before.
  const auto words = [&](const Ymm& bytes, const Ymm& first, const Ymm& second, const Ymm& a, const Ymm& b) {
    e_.vbroadcasti128(a, e_.ptr[table + offsetof(DecodeTable, low)]);
    e_.vpshufb(first, a, bytes);
    e_.vbroadcasti128(a, e_.ptr[table + offsetof(DecodeTable, high)]);
    e_.vpshufb(second, a, bytes);
    e_.vpunpcklbw(a, first, second);  // columns 0, 1 of each half
    e_.vpunpckhbw(b, first, second);  // columns 2, 3
    e_.vshufps(first, a, b, 0b10001000);
    e_.vshufps(second, a, b, 0b11011101);
  };
  e_.vmovdqu(r_.spare, e_.ptr[codes]);
  low_nibbles(r_.pack[3], r_.spare);
  words(r_.pack[3], r_.pack[0], r_.pack[1], r_.pack[2], r_.pack[3]);
  e_.vpsrlw(r_.spare, r_.spare, 4);
  low_nibbles(r_.spare, r_.spare);
  words(r_.spare, r_.pack[2], r_.pack[3], r_.temp, r_.spare);
}

// pack 0: k0, k4; 1: k1, k5; 2: k2, k6; 3: k3, k7, the first in the low word.
void DecodeAvx2::unpack(const Ymm& to, std::uint32_t k) {
  const Ymm& pack = r_.pack[k % 4];
  if (k < 4) {
    e_.vpslld(to, pack, 16);
  } else {
    r_.high_words ? e_.vandps(to, pack, *r_.high_words) : e_.vandps(to, pack, high_words());
  }
}

}  // namespace zenwoq
