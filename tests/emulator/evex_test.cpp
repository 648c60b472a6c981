// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// EVEX instructions without a VEX form, against models written from the manual, and on hosts that have AVX-512 BF16
// against the hardware as well.

#include "tests/emulator/test_support.h"

namespace zenwoq::emulator {
namespace {

using namespace Xbyak::util;

// Image::v is in zmm16 to zmm23: registers that VEX cannot name.
const Shape kShape{512, 16, true};
Xbyak::Zmm z(int i) { return Xbyak::Zmm(16 + i); }
Xbyak::Ymm y(int i) { return Xbyak::Ymm(16 + i); }
Xbyak::Xmm x(int i) { return Xbyak::Xmm(16 + i); }
Xbyak::Address memory(std::size_t at = 0) { return ptr[image_at(&Image::memory, at)]; }
Xbyak::Address memory_b(std::size_t at = 0) { return ptr_b[image_at(&Image::memory, at)]; }

struct EvexCase {
  const char* name;
  void (*emit)(Code& c);
  // Turns the state before into the expected one; `o` is the state before.
  void (*model)(Image& i, const Image& o);
};

// d[i] = f(i) for the elements of `bytes` bytes, zero above.
template <class T, class F>
void fill(Vec& d, std::size_t bytes, F f) {
  Vec result{};
  for (std::size_t i = 0; i < bytes / sizeof(T); ++i) set_lane<T>(result, i, static_cast<T>(f(i)));
  d = result;
}

// Elements of d whose bit in `mask` is clear become those of `old`.
template <class T>
void keep(Vec& d, std::uint64_t mask, const Vec& old) {
  for (std::size_t i = 0; i < sizeof(Vec) / sizeof(T); ++i) {
    if ((mask >> i & 1) == 0) set_lane<T>(d, i, lane<T>(old, i));
  }
}

template <class T>
T two_tables(const Vec& low, const Vec& high, std::size_t index) {
  const std::size_t n = sizeof(Vec) / sizeof(T);
  return lane<T>((index & n) != 0 ? high : low, index & (n - 1));
}

std::uint32_t rotl(std::uint32_t a, std::uint32_t n) {
  return (n & 31) == 0 ? a : a << (n & 31) | a >> (32 - (n & 31));
}

template <unsigned Table>
std::uint32_t ternary(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t result = 0;
  for (int i = 0; i < 32; ++i) {
    const std::uint32_t row = (a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1);
    result |= (Table >> row & 1) << i;
  }
  return result;
}

#define EMIT(statement) #statement, [](Code & c) { c.statement; }
#define MODEL(statements)        \
  [](Image& i, const Image& o) { \
    (void)o;                     \
    statements;                  \
  }
// d = elements of T in `bytes` bytes, from an expression over the index j and the state before.
#define FILL(T, bytes, expression)                  \
  MODEL(fill<T>(i.v[0], bytes, [&](std::size_t j) { \
    (void)j;                                        \
    return expression;                              \
  }))
#define V(T, r, j) lane<T>(o.v[r], j)

const EvexCase kPermutations[] = {
    {EMIT(vpermw(z(0), z(1), z(2))), FILL(std::uint16_t, 64, V(std::uint16_t, 2, V(std::uint16_t, 1, j) & 31))},
    {EMIT(vpermw(y(0), y(1), y(2))), FILL(std::uint16_t, 32, V(std::uint16_t, 2, V(std::uint16_t, 1, j) & 15))},
    {EMIT(vpermw(x(0), x(1), x(2))), FILL(std::uint16_t, 16, V(std::uint16_t, 2, V(std::uint16_t, 1, j) & 7))},
    {EMIT(vpermd(z(0), z(1), z(2))), FILL(std::uint32_t, 64, V(std::uint32_t, 2, V(std::uint32_t, 1, j) & 15))},
    {EMIT(vpermps(z(0), z(1), memory_b(8))), FILL(std::uint32_t, 64, lane<std::uint32_t>(o.memory, 2))},
    {EMIT(vpermq(z(0), z(1), z(2))), FILL(std::uint64_t, 64, V(std::uint64_t, 2, V(std::uint64_t, 1, j) & 7))},
    {EMIT(vpermq(z(0), z(1), 0x1B)), FILL(std::uint64_t, 64, V(std::uint64_t, 1, (j & 4) + 3 - (j & 3)))},
    {EMIT(vpermt2w(z(0), z(1), z(2))),
     FILL(std::uint16_t, 64, two_tables<std::uint16_t>(o.v[0], o.v[2], V(std::uint16_t, 1, j)))},
    {EMIT(vpermi2w(z(0), z(1), z(2))),
     FILL(std::uint16_t, 64, two_tables<std::uint16_t>(o.v[1], o.v[2], V(std::uint16_t, 0, j)))},
    {EMIT(vpermt2d(z(0), z(1), z(2))),
     FILL(std::uint32_t, 64, two_tables<std::uint32_t>(o.v[0], o.v[2], V(std::uint32_t, 1, j)))},
    {EMIT(vpermi2ps(z(0), z(1), z(2))),
     FILL(std::uint32_t, 64, two_tables<std::uint32_t>(o.v[1], o.v[2], V(std::uint32_t, 0, j)))},
    {EMIT(vshufi32x4(z(0), z(1), z(2), 0x4E)),
     FILL(std::uint32_t, 64, j < 8 ? V(std::uint32_t, 1, (j + 8) & 15) : V(std::uint32_t, 2, j - 8))},
    {EMIT(vshuff64x2(y(0), y(1), y(2), 1)),
     FILL(std::uint64_t, 32, j < 2 ? V(std::uint64_t, 1, j + 2) : V(std::uint64_t, 2, j - 2))},
    {EMIT(valignd(z(0), z(1), z(2), 5)),
     FILL(std::uint32_t, 64, j + 5 < 16 ? V(std::uint32_t, 2, j + 5) : V(std::uint32_t, 1, j - 11))},
    {EMIT(valignq(y(0), y(1), y(2), 1)),
     FILL(std::uint64_t, 32, j + 1 < 4 ? V(std::uint64_t, 2, j + 1) : V(std::uint64_t, 1, 0))},
    {EMIT(vextracti32x8(y(0), z(1), 1)), FILL(std::uint32_t, 32, V(std::uint32_t, 1, j + 8))},
    {EMIT(vextracti64x2(x(0), z(1), 3)), FILL(std::uint64_t, 16, V(std::uint64_t, 1, j + 6))},
    {EMIT(vextractf32x4(memory(4), z(1), 2)), MODEL(std::memcpy(i.memory.bytes + 4, o.v[1].bytes + 32, 16))},
    {EMIT(vinserti64x4(z(0), z(1), y(2), 1)),
     FILL(std::uint64_t, 64, j < 4 ? V(std::uint64_t, 1, j) : V(std::uint64_t, 2, j - 4))},
    {EMIT(vinsertf32x4(z(0), z(1), memory(7), 2)),
     MODEL(i.v[0] = o.v[1]; std::memcpy(i.v[0].bytes + 32, o.memory.bytes + 7, 16))},
    {EMIT(vinserti32x4(y(0), y(1), x(2), 1)),
     FILL(std::uint32_t, 32, j < 4 ? V(std::uint32_t, 1, j) : V(std::uint32_t, 2, j - 4))},
    {EMIT(vbroadcasti32x4(z(0), memory(16))), FILL(std::uint32_t, 64, lane<std::uint32_t>(o.memory, 4 + j % 4))},
    {EMIT(vbroadcasti64x4(z(0), memory(32))), FILL(std::uint64_t, 64, lane<std::uint64_t>(o.memory, 4 + j % 4))},
    {EMIT(vbroadcastf32x8(z(0), memory(0))), FILL(std::uint32_t, 64, lane<std::uint32_t>(o.memory, j % 8))},
    {EMIT(vpbroadcastw(z(0), cx)), FILL(std::uint16_t, 64, o.g[1])},
    {EMIT(vpbroadcastb(y(0), dl)), FILL(std::uint8_t, 32, o.g[2])},
    {EMIT(vpbroadcastq(z(0) | k2, rcx)), MODEL(fill<std::uint64_t>(i.v[0], 64, [&](std::size_t) { return o.g[1]; });
                                               keep<std::uint64_t>(i.v[0], o.k[2], o.v[0]))},
};

const EvexCase kLanes[] = {
    {EMIT(vpternlogd(z(0), z(1), z(2), 0xD8)),
     FILL(std::uint32_t, 64, ternary<0xD8>(V(std::uint32_t, 0, j), V(std::uint32_t, 1, j), V(std::uint32_t, 2, j)))},
    {EMIT(vpternlogq(y(0), y(1), y(2), 0x35)),
     FILL(std::uint32_t, 32, ternary<0x35>(V(std::uint32_t, 0, j), V(std::uint32_t, 1, j), V(std::uint32_t, 2, j)))},
    {EMIT(vprold(z(0), z(1), 9)), FILL(std::uint32_t, 64, rotl(V(std::uint32_t, 1, j), 9))},
    {EMIT(vprorvd(z(0), z(1), z(2))),
     FILL(std::uint32_t, 64, rotl(V(std::uint32_t, 1, j), 32 - V(std::uint32_t, 2, j) % 32))},
    {EMIT(vpsllvw(z(0), z(1), z(2))),
     FILL(std::uint16_t, 64, V(std::uint16_t, 2, j) > 15 ? 0 : V(std::uint16_t, 1, j) << V(std::uint16_t, 2, j))},
    {EMIT(vpsravw(z(0), z(1), z(2))),
     FILL(std::int16_t, 64, V(std::int16_t, 1, j) >> std::min<int>(V(std::uint16_t, 2, j), 15))},
    {EMIT(vpsraq(z(0), z(1), 33)), FILL(std::int64_t, 64, V(std::int64_t, 1, j) >> 33)},
    {EMIT(vpsrld(z(0), memory_b(4), 3)), FILL(std::uint32_t, 64, lane<std::uint32_t>(o.memory, 1) >> 3)},
    {EMIT(vpmullq(z(0), z(1), z(2))), FILL(std::uint64_t, 64, V(std::uint64_t, 1, j) * V(std::uint64_t, 2, j))},
    {EMIT(vpaddd(z(0), z(1), memory_b(12))),
     FILL(std::uint32_t, 64, V(std::uint32_t, 1, j) + lane<std::uint32_t>(o.memory, 3))},
    {EMIT(vpandq(z(0), z(1), memory_b(8))),
     FILL(std::uint64_t, 64, V(std::uint64_t, 1, j) & lane<std::uint64_t>(o.memory, 1))},
    {EMIT(vpmovzxwd(z(0), y(1))), FILL(std::uint32_t, 64, V(std::uint16_t, 1, j))},
    {EMIT(vpmovsxbd(z(0), x(1))), FILL(std::int32_t, 64, V(std::int8_t, 1, j))},
    {EMIT(vpmovzxbd(z(0) | k1 | T_z, memory(48))),
     MODEL(fill<std::uint32_t>(i.v[0], 64, [&](std::size_t j) { return o.memory.bytes[48 + j]; });
           keep<std::uint32_t>(i.v[0], o.k[1], Vec{}))},
    {EMIT(vpmovdw(y(0), z(1))), FILL(std::uint16_t, 32, V(std::uint32_t, 1, j))},
    {EMIT(vpmovwb(y(0) | k1, z(1))),
     MODEL(fill<std::uint8_t>(i.v[0], 32, [&](std::size_t j) { return V(std::uint16_t, 1, j); });
           keep<std::uint8_t>(i.v[0], o.k[1] | ~std::uint64_t{0} << 32, o.v[0]))},
    {EMIT(vpmovdw(x(0) | k1, x(1))),
     MODEL(fill<std::uint16_t>(i.v[0], 8, [&](std::size_t j) { return V(std::uint32_t, 1, j); });
           keep<std::uint16_t>(i.v[0], o.k[1] | ~std::uint64_t{0} << 4, o.v[0]))},
    {EMIT(vpmovdw(memory(8) | k1, z(1))), MODEL(for (std::size_t j = 0; j < 16; ++j) {
       if ((o.k[1] >> j & 1) != 0) std::memcpy(i.memory.bytes + 8 + 2 * j, o.v[1].bytes + 4 * j, 2);
     })},
    {EMIT(vpmovsdb(x(0), z(1))), FILL(std::int8_t, 16, std::max(-128, std::min(127, V(std::int32_t, 1, j))))},
    {EMIT(vpblendmw(z(0) | k1, z(1), z(2))),
     FILL(std::uint16_t, 64, V(std::uint16_t, (o.k[1] >> j & 1) != 0 ? 2 : 1, j))},
    {EMIT(vpblendmd(z(0) | k1 | T_z, z(1), z(2))),
     FILL(std::uint32_t, 64, (o.k[1] >> j & 1) != 0 ? V(std::uint32_t, 2, j) : 0)},
    {EMIT(vmovss(x(0) | k1, x(1), x(2))),
     FILL(std::uint32_t, 16, j > 0 ? V(std::uint32_t, 1, j) : V(std::uint32_t, (o.k[1] & 1) != 0 ? 2 : 0, 0))},
    {EMIT(vmovss(x(0) | k1 | T_z, memory(4))),
     FILL(std::uint32_t, 16, j > 0 || (o.k[1] & 1) == 0 ? 0 : lane<std::uint32_t>(o.memory, 1))},
};

const EvexCase kMoves[] = {
    {EMIT(vmovdqu8(z(0) | k1 | T_z, memory())), MODEL(i.v[0] = o.memory; keep<std::uint8_t>(i.v[0], o.k[1], Vec{}))},
    {EMIT(vmovdqu16(z(0) | k1, memory())), MODEL(i.v[0] = o.memory; keep<std::uint16_t>(i.v[0], o.k[1], o.v[0]))},
    {EMIT(vmovdqu32(y(0) | k1, memory())), MODEL(fill<std::uint32_t>(i.v[0], 32,
                                                                     [&](std::size_t j) {
                                                                       return (o.k[1] >> j & 1) != 0
                                                                                  ? lane<std::uint32_t>(o.memory, j)
                                                                                  : V(std::uint32_t, 0, j);
                                                                     }))},
    {EMIT(vmovdqu64(memory() | k1, z(1))), MODEL(i.memory = o.v[1]; keep<std::uint64_t>(i.memory, o.k[1], o.memory))},
    {EMIT(vmovups(memory() | k1, z(1))), MODEL(i.memory = o.v[1]; keep<std::uint32_t>(i.memory, o.k[1], o.memory))},
    {EMIT(vmovdqu8(memory() | k3, z(1))), MODEL(i.memory = o.v[1]; keep<std::uint8_t>(i.memory, o.k[3], o.memory))},
    {EMIT(vmovdqa32(z(0) | k1 | T_z, z(1))), MODEL(i.v[0] = o.v[1]; keep<std::uint32_t>(i.v[0], o.k[1], Vec{}))},
    {EMIT(vmovdqa64(z(0), memory())), MODEL(i.v[0] = o.memory)},
    {EMIT(vmovd(x(0), ecx)), FILL(std::uint32_t, 16, j == 0 ? o.g[1] : 0)},
    {EMIT(vmovq(rcx, x(1))), MODEL(i.g[1] = V(std::uint64_t, 1, 0))},
    {EMIT(vpmovm2w(z(0), k1)), FILL(std::uint16_t, 64, (o.k[1] >> j & 1) != 0 ? 0xFFFF : 0)},
    {EMIT(vpmovm2d(z(0), k1)), FILL(std::uint32_t, 64, (o.k[1] >> j & 1) != 0 ? 0xFFFFFFFF : 0)},
};

template <std::size_t N, class F>
std::uint64_t bits(F f) {
  std::uint64_t mask = 0;
  for (std::size_t j = 0; j < N; ++j) mask |= static_cast<std::uint64_t>(f(j) ? 1 : 0) << j;
  return mask;
}

#define TO_MASK(n, expression) MODEL(i.k[1] = bits<n>([&](std::size_t j) { return expression; }))

const EvexCase kMasks[] = {
    {EMIT(vpcmpeqd(k1, z(1), z(2))), TO_MASK(16, V(std::uint32_t, 1, j) == V(std::uint32_t, 2, j))},
    {EMIT(vpcmpeqd(k1 | k2, z(1), memory_b(4))), MODEL(i.k[1] = o.k[2] & bits<16>([&](std::size_t j) {
                                                                  return V(std::uint32_t, 1, j) ==
                                                                         lane<std::uint32_t>(o.memory, 1);
                                                                }))},
    {EMIT(vpcmpeqw(k1, y(1), y(2))), TO_MASK(16, V(std::uint16_t, 1, j) == V(std::uint16_t, 2, j))},
    {EMIT(vpcmpgtw(k1, z(1), z(2))), TO_MASK(32, V(std::int16_t, 1, j) > V(std::int16_t, 2, j))},
    {EMIT(vpcmpud(k1, z(1), z(2), 1)), TO_MASK(16, V(std::uint32_t, 1, j) < V(std::uint32_t, 2, j))},
    {EMIT(vpcmpb(k1, z(1), z(2), 5)), TO_MASK(64, V(std::int8_t, 1, j) >= V(std::int8_t, 2, j))},
    {EMIT(vptestmd(k1, z(1), z(2))), TO_MASK(16, (V(std::uint32_t, 1, j) & V(std::uint32_t, 2, j)) != 0)},
    {EMIT(vptestnmb(k1, z(1), z(2))), TO_MASK(64, (V(std::uint8_t, 1, j) & V(std::uint8_t, 2, j)) == 0)},
    {EMIT(vpmovb2m(k1, z(1))), TO_MASK(64, V(std::int8_t, 1, j) < 0)},
    {EMIT(vpmovd2m(k1, y(1))), TO_MASK(8, V(std::int32_t, 1, j) < 0)},
    {EMIT(kmovb(k1, ecx)), MODEL(i.k[1] = o.g[1] & 0xFF)},
    {EMIT(kmovw(k1, ecx)), MODEL(i.k[1] = o.g[1] & 0xFFFF)},
    {EMIT(kmovd(k1, ecx)), MODEL(i.k[1] = o.g[1] & 0xFFFFFFFF)},
    {EMIT(kmovq(k1, rcx)), MODEL(i.k[1] = o.g[1])},
    {EMIT(kmovw(ecx, k1)), MODEL(i.g[1] = o.k[1] & 0xFFFF)},
    {EMIT(kmovd(ecx, k1)), MODEL(i.g[1] = o.k[1] & 0xFFFFFFFF)},
    {EMIT(kmovq(k1, k2)), MODEL(i.k[1] = o.k[2])},
    {EMIT(kmovw(k1, k2)), MODEL(i.k[1] = o.k[2] & 0xFFFF)},
    {EMIT(kmovd(k1, memory(4))), MODEL(i.k[1] = lane<std::uint32_t>(o.memory, 1))},
    {EMIT(kmovw(memory(2), k1)), MODEL(std::memcpy(i.memory.bytes + 2, &o.k[1], 2))},
    {EMIT(kandw(k1, k2, k3)), MODEL(i.k[1] = o.k[2] & o.k[3] & 0xFFFF)},
    {EMIT(kandnq(k1, k2, k3)), MODEL(i.k[1] = ~o.k[2] & o.k[3])},
    {EMIT(kord(k1, k2, k3)), MODEL(i.k[1] = (o.k[2] | o.k[3]) & 0xFFFFFFFF)},
    {EMIT(kxorq(k1, k2, k3)), MODEL(i.k[1] = o.k[2] ^ o.k[3])},
    {EMIT(kxnorw(k1, k1, k1)), MODEL(i.k[1] = 0xFFFF)},
    {EMIT(kxnorq(k1, k1, k1)), MODEL(i.k[1] = ~std::uint64_t{0})},
    {EMIT(knotd(k1, k2)), MODEL(i.k[1] = ~o.k[2] & 0xFFFFFFFF)},
    {EMIT(kshiftlw(k1, k2, 5)), MODEL(i.k[1] = o.k[2] << 5 & 0xFFFF)},
    {EMIT(kshiftrd(k1, k2, 7)), MODEL(i.k[1] = (o.k[2] & 0xFFFFFFFF) >> 7)},
    {EMIT(kshiftrw(k1, k2, 16)), MODEL(i.k[1] = 0)},
    {EMIT(kshiftrq(k1, k2, 63)), MODEL(i.k[1] = o.k[2] >> 63)},
    {EMIT(kunpckwd(k1, k2, k3)), MODEL(i.k[1] = (o.k[2] & 0xFFFF) << 16 | (o.k[3] & 0xFFFF))},
    {"kortestw", [](Code& c) { c.kxnorw(k1, k1, k1), c.kortestw(k1, k2), c.setc(cl), c.setz(dl); },
     MODEL(i.k[1] = 0xFFFF; i.g[1] = (o.g[1] & ~0xFFULL) | 1; i.g[2] = o.g[2] & ~0xFFULL)},
    {"ktestd", [](Code& c) { c.kxord(k1, k1, k1), c.ktestd(k1, k2), c.setc(cl), c.setz(dl); },
     MODEL(i.k[1] = 0; i.g[1] = (o.g[1] & ~0xFFULL) | ((o.k[2] & 0xFFFFFFFF) == 0); i.g[2] = (o.g[2] & ~0xFFULL) | 1)},
};

void expect_equal(const Image& a, const Image& b, const char* name) {
  for (std::size_t i = 0; i < a.v.size(); ++i) {
    EXPECT_TRUE(equal(a.v[i], b.v[i])) << name << " v" << i << "\n" << hex(a.v[i]) << "\n" << hex(b.v[i]);
  }
  for (std::size_t i = 1; i < a.k.size(); ++i) EXPECT_EQ(a.k[i], b.k[i]) << name << " k" << i;
  EXPECT_EQ(a.g, b.g) << name;
  EXPECT_TRUE(equal(a.memory, b.memory)) << name << "\n" << hex(a.memory) << "\n" << hex(b.memory);
}

template <std::size_t N>
void run_cases(const EvexCase (&cases)[N]) {
  for (const EvexCase& evex_case : cases) {
    const Bytes code = vector_program(kShape, [&](Code& c, const Shape&) { evex_case.emit(c); });
    Random random(6);
    for (int round = 0; round < 50 && !testing::Test::HasFailure(); ++round) {
      Image image = random.image();
      const Image before = image;
      Image want = before;
      evex_case.model(want, before);
      run_emulated(code, image);
      expect_equal(image, want, evex_case.name);
    }
  }
}

template <std::size_t N>
void run_cases_native(const EvexCase (&cases)[N]) {
  for (const EvexCase& evex_case : cases) {
    const Bytes code = vector_program(kShape, [&](Code& c, const Shape&) { evex_case.emit(c); });
    const NativeCode native(code);
    Random random(7);
    for (int round = 0; round < 50; ++round) {
      Image emulated = random.image();
      Image host = emulated;
      run_emulated(code, emulated);
      native(host);
      expect_equal(emulated, host, evex_case.name);
    }
  }
}

TEST(EvexTest, Permutations) { run_cases(kPermutations); }
TEST(EvexTest, Lanes) { run_cases(kLanes); }
TEST(EvexTest, Moves) { run_cases(kMoves); }
TEST(EvexTest, Masks) { run_cases(kMasks); }

TEST(EvexTest, EqualsHost) {
  ZENWOQ_SKIP_WITHOUT_AVX512();
  run_cases_native(kPermutations);
  run_cases_native(kLanes);
  run_cases_native(kMoves);
  run_cases_native(kMasks);
}

}  // namespace
}  // namespace zenwoq::emulator
