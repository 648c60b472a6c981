// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// vdpbf16ps and the bf16 conversions against a scalar model, the emulated MXCSR, and f16 and scaling conversions.

#include <bit>
#include <cmath>

#include "tests/emulator/test_support.h"

namespace zenwoq::emulator {
namespace {

using namespace Xbyak::util;

constexpr std::uint32_t kMxcsrValues[] = {kMxcsrDefault, kMxcsrFlush, 0x7F80, 0x5F80, 0x0000};

float as_float(std::uint32_t bits) { return std::bit_cast<float>(bits); }
std::uint32_t as_bits(float value) { return std::bit_cast<std::uint32_t>(value); }

bool is_denormal(std::uint32_t bits) { return (bits & 0x7F800000) == 0; }
std::uint32_t flushed(std::uint32_t bits) { return is_denormal(bits) ? bits & 0x80000000 : bits; }

// The float nearest to the exact value sum + error, to even; a result below the normal range, as rounded with an
// unbounded exponent, becomes zero.
float round_and_flush(double sum, double error) {
  if (error != 0 && (std::bit_cast<std::uint64_t>(sum) & 1) == 0) {
    // Round to odd: the last bit remembers that something was cut off, so the second rounding is the only one.
    if (std::signbit(sum) != std::signbit(error)) sum = std::nextafter(sum, 0.0);
    sum = std::bit_cast<double>(std::bit_cast<std::uint64_t>(sum) | 1);
  }
  if (std::fabs(sum) >= 0x1p-100) return static_cast<float>(sum);
  const float scaled = static_cast<float>(std::ldexp(sum, 100));
  if (std::fabs(scaled) < 0x1p-26F) return std::copysign(0.0F, static_cast<float>(scaled));
  return std::ldexp(scaled, -100);
}

// fma(x, w, acc) of two bf16 and a float. The product is exact in double, the sum has an exact error term (Knuth).
std::uint32_t fma_flushed(std::uint32_t x_bits, std::uint32_t w_bits, std::uint32_t acc_bits) {
  const double product = double{as_float(flushed(x_bits))} * double{as_float(flushed(w_bits))};
  const double acc = as_float(flushed(acc_bits));
  const double sum = product + acc;
  if (!std::isfinite(sum) || sum == 0) return as_bits(static_cast<float>(sum));
  const double part = sum - product;
  const double error = (product - (sum - part)) + (acc - part);
  return as_bits(round_and_flush(sum, error));
}

std::uint32_t dot_model(std::uint32_t acc, std::uint32_t x, std::uint32_t w) {
  const std::uint32_t first = fma_flushed(x & 0xFFFF0000, w & 0xFFFF0000, acc);
  return fma_flushed(x << 16, w << 16, first);
}

// Pairs of bf16 and accumulators whose products lie near the borders of the normal range as often as anywhere else.
class DotInputs {
 public:
  explicit DotInputs(std::uint64_t seed) : random_(seed) {}

  Image image() {
    Image image = random_.image();
    for (std::size_t i = 0; i < 16; ++i) {
      switch (random_.below(4)) {
        case 0: break;
        case 1: tiny(image, i); break;
        case 2: ordinary(image, i); break;
        default: cancelling(image, i); break;
      }
    }
    return image;
  }

 private:
  std::uint32_t bf16(int exponent) {
    return static_cast<std::uint32_t>(random_.below(2) << 15) | static_cast<std::uint32_t>(exponent) << 7 |
           static_cast<std::uint32_t>(random_.below(128));
  }
  std::uint32_t pair(int exponent) { return bf16(exponent) << 16 | bf16(exponent); }

  // Products of about 2^-126, where rounding and flushing meet.
  void tiny(Image& image, std::size_t i) {
    const int x = 1 + static_cast<int>(random_.below(126));
    const int around = static_cast<int>(random_.below(6));
    set_lane<std::uint32_t>(image.v[1], i, pair(x));
    set_lane<std::uint32_t>(image.v[2], i, pair(std::min(254, std::max(1, 126 - x + around))));
    set_lane<std::uint32_t>(
        image.v[0], i,
        bf16(static_cast<int>(random_.below(4))) << 16 | static_cast<std::uint32_t>(random_.below(65536)));
  }

  void ordinary(Image& image, std::size_t i) {
    for (int v = 1; v < 3; ++v) set_lane<std::uint32_t>(image.v[v], i, pair(120 + static_cast<int>(random_.below(16))));
    set_lane<std::uint32_t>(
        image.v[0], i,
        bf16(120 + static_cast<int>(random_.below(16))) << 16 | static_cast<std::uint32_t>(random_.below(65536)));
  }

  // The accumulator is minus the first product, or one step beside it.
  void cancelling(Image& image, std::size_t i) {
    const std::uint32_t x = pair(1 + static_cast<int>(random_.below(253)));
    const std::uint32_t w = pair(1 + static_cast<int>(random_.below(253)));
    const float product = as_float(x & 0xFFFF0000) * as_float(w & 0xFFFF0000);
    set_lane<std::uint32_t>(image.v[1], i, x);
    set_lane<std::uint32_t>(image.v[2], i, w);
    const std::uint32_t step = static_cast<std::uint32_t>(random_.below(3)) - 1;
    set_lane<std::uint32_t>(image.v[0], i, as_bits(-product) + step);
  }

  Random random_;
};

const Shape kZmm{512, 0, true};

Bytes dot_program() {
  return vector_program(kZmm, [](Code& c, const Shape&) { c.vdpbf16ps(zmm0, zmm1, zmm2); });
}

TEST(DotTest, EqualsScalarModelUnderAnyMxcsr) {
  const auto program = decode(dot_program());
  Cpu cpu;
  DotInputs inputs(8);
  for (int round = 0; round < 20000; ++round) {
    Image image = inputs.image();
    image.mxcsr = kMxcsrValues[round % std::size(kMxcsrValues)];
    const Image before = image;
    cpu.ranges = {{&image, sizeof image, true, "image"}};
    std::string error;
    ASSERT_TRUE(run(*program, cpu, reinterpret_cast<std::uint64_t>(&image), &error).ok) << error;
    Vec want;
    for (std::size_t i = 0; i < 16; ++i) {
      set_lane(want, i,
               dot_model(lane<std::uint32_t>(before.v[0], i), lane<std::uint32_t>(before.v[1], i),
                         lane<std::uint32_t>(before.v[2], i)));
    }
    ASSERT_TRUE(equal(with_one_nan(image.v[0]), with_one_nan(want))) << hex(image.v[0]) << "\n"
                                                                     << hex(want) << "\n"
                                                                     << hex(before.v[0]) << "\n"
                                                                     << hex(before.v[1]) << "\n"
                                                                     << hex(before.v[2]);
  }
}

TEST(DotTest, EqualsHost) {
  ZENWOQ_SKIP_WITHOUT_AVX512();
  const Bytes code = dot_program();
  const NativeCode native(code);
  DotInputs inputs(9);
  for (int round = 0; round < 20000; ++round) {
    Image emulated = inputs.image();
    emulated.mxcsr = round % 2 == 0 ? kMxcsrDefault : kMxcsrFlush;
    Image host = emulated;
    run_emulated(code, emulated);
    native(host);
    ASSERT_TRUE(equal(with_one_nan(emulated.v[0]), with_one_nan(host.v[0])));
  }
}

TEST(DotTest, MemoryBroadcastAndMaskForms) {
  const auto forms = [](Code& c, const Shape&) {
    const auto memory = image_at(&Image::memory);
    c.vdpbf16ps(zmm3, zmm1, ptr[memory]);
    c.vdpbf16ps(zmm4, zmm1, ptr_b[memory + 4]);
    c.vdpbf16ps(zmm5 | k1, zmm1, ptr_b[memory + 8]);
    c.vdpbf16ps(ymm6 | k1 | T_z, ymm1, ymm2);
  };
  Image image = Random(10).image();
  const Image o = image;
  run_emulated(vector_program(kZmm, forms), image);
  Image want = o;
  want.v[6] = Vec{};
  const auto dot = [&](int d, std::size_t i, std::uint32_t w) {
    return dot_model(lane<std::uint32_t>(o.v[d], i), lane<std::uint32_t>(o.v[1], i), w);
  };
  for (std::size_t i = 0; i < 16; ++i) {
    const bool active = (o.k[1] >> i & 1) != 0;
    set_lane(want.v[3], i, dot(3, i, lane<std::uint32_t>(o.memory, i)));
    set_lane(want.v[4], i, dot(4, i, lane<std::uint32_t>(o.memory, 1)));
    if (active) set_lane(want.v[5], i, dot(5, i, lane<std::uint32_t>(o.memory, 2)));
    if (active && i < 8) set_lane(want.v[6], i, dot(6, i, lane<std::uint32_t>(o.v[2], i)));
  }
  for (int v = 3; v < 7; ++v) {
    EXPECT_TRUE(equal(with_one_nan(image.v[v]), with_one_nan(want.v[v]))) << "v" << v;
  }
}

// Rounded by arithmetic instead of by bits: the nearest of the two bf16 neighbours, on a tie the even one.
std::uint16_t bf16_model(std::uint32_t bits) {
  const float value = as_float(bits);
  if (is_denormal(bits)) return static_cast<std::uint16_t>((bits & 0x80000000) >> 16);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16) | 0x40);
  if (std::isinf(value)) return static_cast<std::uint16_t>(bits >> 16);
  const std::uint32_t low = bits & 0xFFFF0000;
  const std::uint32_t high = low + 0x10000;  // away from zero; may be infinity, which stands for 2^128 here
  const double step = std::ldexp(1.0, std::max(std::ilogb(value), -126) - 7);
  const double beyond = std::fabs(double{value} - double{as_float(low)});
  const bool up = beyond > step / 2 || (beyond == step / 2 && (low >> 16 & 1) != 0);
  return static_cast<std::uint16_t>((up ? high : low) >> 16);
}

TEST(ConvertTest, ToBf16EqualsModelUnderAnyMxcsr) {
  const Bytes code = vector_program(kZmm, [](Code& c, const Shape&) {
    c.vcvtneps2bf16(ymm3, zmm1);
    c.vcvtneps2bf16(xmm4, xmm1);
    c.vcvtne2ps2bf16(zmm5, zmm1, zmm2);
    c.vcvtneps2bf16(ymm6 | k1, zmm1);
  });
  Random random(11);
  for (int round = 0; round < 500; ++round) {
    Image image = random.image();
    image.mxcsr = kMxcsrValues[round % std::size(kMxcsrValues)];
    const Image o = image;
    run_emulated(code, image);
    Image want = o;
    want.v[3] = want.v[4] = Vec{};
    std::memset(want.v[6].bytes + 32, 0, 32);
    for (std::size_t i = 0; i < 16; ++i) {
      const std::uint16_t low = bf16_model(lane<std::uint32_t>(o.v[2], i));
      const std::uint16_t high = bf16_model(lane<std::uint32_t>(o.v[1], i));
      set_lane(want.v[3], i, high);
      if (i < 4) set_lane(want.v[4], i, high);
      set_lane(want.v[5], i, low);
      set_lane(want.v[5], 16 + i, high);
      if ((o.k[1] >> i & 1) != 0) set_lane(want.v[6], i, high);
    }
    for (int v = 3; v < 7; ++v) {
      ASSERT_TRUE(equal(image.v[v], want.v[v])) << "v" << v << "\n"
                                                << hex(image.v[v]) << "\n"
                                                << hex(want.v[v]) << "\n"
                                                << hex(o.v[1]);
    }
    if (!host_has_avx512()) continue;
    Image host = o;
    host.mxcsr = kMxcsrDefault;
    run_native(code, host);
    for (int v = 3; v < 7; ++v) ASSERT_TRUE(equal(image.v[v], host.v[v])) << "v" << v;
  }
}

TEST(ConvertTest, FromF16IsExactUnderFlush) {
  const Bytes code = vector_program(kZmm, [](Code& c, const Shape&) { c.vcvtph2ps(zmm0, ymm1); });
  for (std::uint32_t begin = 0; begin < 0x10000; begin += 16) {
    Image image{};
    image.mxcsr = kMxcsrFlush;
    for (std::size_t i = 0; i < 16; ++i) set_lane(image.v[1], i, static_cast<std::uint16_t>(begin + i));
    run_emulated(code, image);
    for (std::size_t i = 0; i < 16; ++i) {
      const std::uint32_t half = begin + static_cast<std::uint32_t>(i);
      const int exponent = static_cast<int>(half >> 10 & 31);
      if (exponent == 31) continue;
      const float fraction = static_cast<float>((half & 1023) + (exponent == 0 ? 0 : 1024));
      const float magnitude = std::ldexp(fraction, std::max(exponent, 1) - 25);
      const float want = (half & 0x8000) != 0 ? -magnitude : magnitude;
      ASSERT_EQ(lane<std::uint32_t>(image.v[0], i), as_bits(want)) << half;
    }
  }
}

TEST(ConvertTest, ScaleByPowersOfTwo) {
  const Bytes code = vector_program(kZmm, [](Code& c, const Shape&) { c.vscalefps(zmm0, zmm1, zmm2); });
  struct {
    float a, b, want;
  } const cases[] = {
      {3, 2.75F, 12},
      {-3, -1.5F, -0.75F},
      {1, -149, 0x1p-149F},
      {1, 500, INFINITY},
      {0, 1e30F, 0},
      {1, -1e30F, 0},
      {INFINITY, -1000, INFINITY},
      {5, -INFINITY, 0},
      {-5, INFINITY, -INFINITY},
      {1.5F, 0.999F, 1.5F},
      {0x1.8p-149F, 1, 0x1p-147F},
  };
  for (const auto& one : cases) {
    Image image{};
    set_lane(image.v[1], 3, one.a);
    set_lane(image.v[2], 3, one.b);
    run_emulated(code, image);
    EXPECT_EQ(lane<float>(image.v[0], 3), one.want) << one.a << " " << one.b;
    if (!host_has_avx512()) continue;
    run_native(code, image);
    EXPECT_EQ(lane<float>(image.v[0], 3), one.want) << one.a << " " << one.b;
  }
}

TEST(MxcsrTest, ArithmeticThatMayTrapFails) {
  const auto add_under = [](std::uint32_t mxcsr, bool dot) {
    Image image{};
    image.mxcsr = mxcsr;
    const auto program = decode(vector_program(
        kZmm, [&](Code& c, const Shape&) { dot ? c.vdpbf16ps(zmm0, zmm1, zmm2) : c.vaddps(zmm0, zmm1, zmm2); }));
    Cpu cpu;
    cpu.ranges = {{&image, sizeof image, true, "image"}};
    std::string error;
    run(*program, cpu, reinterpret_cast<std::uint64_t>(&image), &error);
    return error;
  };
  EXPECT_EQ(add_under(kMxcsrFlush, false), "");
  EXPECT_NE(add_under(0x1F00, false).find("may trap"), std::string::npos);
  EXPECT_EQ(add_under(0x1F00, true), "");
}

}  // namespace
}  // namespace zenwoq::emulator
