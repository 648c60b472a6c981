// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// vdpbf16ps against a scalar model on every host, and what MXCSR does to floating-point arithmetic.
#include <bit>
#include <cmath>

#include "tests/emulator/test_support.h"

namespace zenwoq::emulator {
namespace {

using namespace Xbyak::util;

// Some with unmasked exceptions: vdpbf16ps does not look.
constexpr std::uint32_t kMxcsrValues[] = {kMxcsrDefault, kMxcsrFlush, 0x7F80, 0x5F80, 0x0000};

float as_float(std::uint32_t bits) { return std::bit_cast<float>(bits); }
std::uint32_t as_bits(float value) { return std::bit_cast<std::uint32_t>(value); }

float flushed(std::uint32_t bits) { return as_float((bits & 0x7F800000) == 0 ? bits & 0x80000000 : bits); }

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
  if (std::fabs(scaled) < 0x1p-26F) return std::copysign(0.0F, scaled);
  return std::ldexp(scaled, -100);
}

// fma(x, w, acc) of two bf16 and a float. The product is exact in double, the sum has an exact error term (Knuth).
std::uint32_t fma_flushed(std::uint32_t x, std::uint32_t w, std::uint32_t acc_bits) {
  const double product = double{flushed(x)} * double{flushed(w)};
  const double acc = flushed(acc_bits);
  const double sum = product + acc;
  if (!std::isfinite(sum) || sum == 0) return as_bits(static_cast<float>(sum));
  const double part = sum - product;
  return as_bits(round_and_flush(sum, (product - (sum - part)) + (acc - part)));
}

std::uint32_t dot_model(std::uint32_t acc, std::uint32_t x, std::uint32_t w) {
  return fma_flushed(x << 16, w << 16, fma_flushed(x & 0xFFFF0000, w & 0xFFFF0000, acc));
}

// Pairs of bf16 and accumulators. In a third of the lanes each, products lie near the lower end of the normal range, or
// nearly cancel the accumulator, or are random.
Image dot_image(Random& random) {
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random.below(n)); };
  const auto bf16 = [&](std::uint32_t exponent) { return below(2) << 15 | exponent << 7 | below(128); };
  const auto pair = [&](std::uint32_t exponent) { return bf16(exponent) << 16 | bf16(exponent); };
  Image image = random.image();
  for (std::size_t i = 0; i < 16; ++i) {
    const std::uint32_t kind = below(3);
    if (kind == 0) continue;
    const std::uint32_t exponent = 1 + below(126);
    const std::uint32_t x = pair(exponent);
    const std::uint32_t w = pair(kind == 1 ? std::max(1u, 126 - exponent + below(6)) : 1 + below(253));
    const float product = as_float(x & 0xFFFF0000) * as_float(w & 0xFFFF0000);
    set_lane(image.v[0], i, kind == 1 ? bf16(below(4)) << 16 | below(65536) : as_bits(-product) + below(3) - 1);
    set_lane(image.v[1], i, x);
    set_lane(image.v[2], i, w);
  }
  return image;
}

TEST(DotTest, EqualsScalarModelUnderAnyMxcsrAndHost) {
  const Bytes code = vector_program(kZmm, [](Code& c, const Shape&) { c.vdpbf16ps(zmm0, zmm1, zmm2); });
  const auto program = decode(code);
  const auto native = native_code(code);
  Random random(8);
  for (int round = 0; round < 20000; ++round) {
    Image image = dot_image(random);
    image.mxcsr = kMxcsrValues[round % std::size(kMxcsrValues)];
    const Image before = image;
    ASSERT_EQ(error_of_run(*program, image), "");
    const auto in = [&](int v, std::size_t i) { return lane<std::uint32_t>(before.v[v], i); };
    Vec want;
    for (std::size_t i = 0; i < 16; ++i) set_lane(want, i, dot_model(in(0, i), in(1, i), in(2, i)));
    ASSERT_EQ(hex(with_one_nan(image.v[0])), hex(with_one_nan(want)));
    if (!host_has_avx512()) continue;
    Image host = before;
    host.mxcsr = round % 2 == 0 ? kMxcsrDefault : kMxcsrFlush;
    native(&host);
    ASSERT_EQ(hex(with_one_nan(image.v[0])), hex(with_one_nan(host.v[0])));
  }
  ZENWOQ_SKIP_WITHOUT_AVX512();
}

TEST(MxcsrTest, ArithmeticThatMayTrapFails) {
  const auto run_under = [](std::uint32_t mxcsr, const Emit& emit) {
    Image image{};
    image.mxcsr = mxcsr;
    return error_of_run(*decode(vector_program(kZmm, emit)), image);
  };
  const auto add = [](Code& c, const Shape&) { c.vaddps(zmm0, zmm1, zmm2); };
  const auto dot = [](Code& c, const Shape&) { c.vdpbf16ps(zmm0, zmm1, zmm2); };
  EXPECT_EQ(run_under(kMxcsrFlush, add), "");
  EXPECT_CONTAINS(run_under(0x1F00, add), "may trap");
  EXPECT_EQ(run_under(0x1F00, dot), "");
}

}  // namespace
}  // namespace zenwoq::emulator
