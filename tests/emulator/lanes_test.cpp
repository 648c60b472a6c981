// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Instructions that keep to their 128-bit lanes: the host's AVX2 form is the reference, for the EVEX form as well.

#include "tests/emulator/test_support.h"

namespace zenwoq::emulator {
namespace {

using Xmm = Xbyak::Xmm;

// How d = f(d, a, b) is written in VEX and in EVEX form, and the bytes that one mask bit stands for.
struct LaneCase {
  const char* name;
  std::size_t element;
  bool is_float;
  void (*vex)(Code& c, const Xmm& d, const Xmm& a, const Xmm& b);
  void (*evex)(Code& c, const Xmm& d, const Xmm& a, const Xmm& b);
};

#define EMIT(statement) [](Code& c, const Xmm& d, const Xmm& a, const Xmm& b) { (void)a, (void)b, statement; }
#define INT_CASE(element, statement) \
  { #statement, element, false, EMIT(statement), EMIT(statement) }
#define TWO_NAMES(element, vex, evex) \
  { #vex, element, false, EMIT(vex), EMIT(evex) }
#define FLOAT_CASE(statement) \
  { #statement, 4, true, EMIT(statement), EMIT(statement) }

const LaneCase kCases[] = {
    TWO_NAMES(4, c.vpxor(d, a, b), c.vpxord(d, a, b)),
    TWO_NAMES(8, c.vpxor(d, a, b), c.vpxorq(d, a, b)),
    TWO_NAMES(4, c.vpand(d, a, b), c.vpandd(d, a, b)),
    TWO_NAMES(4, c.vpandn(d, a, b), c.vpandnd(d, a, b)),
    TWO_NAMES(8, c.vpor(d, a, b), c.vporq(d, a, b)),
    TWO_NAMES(4, c.vpor(d, a, b), c.vpord(d, a, b)),
    INT_CASE(4, c.vxorps(d, a, b)),
    INT_CASE(4, c.vandps(d, a, b)),
    INT_CASE(1, c.vpaddb(d, a, b)),
    INT_CASE(2, c.vpaddw(d, a, b)),
    INT_CASE(4, c.vpaddd(d, a, b)),
    INT_CASE(8, c.vpaddq(d, a, b)),
    INT_CASE(2, c.vpsubw(d, a, b)),
    INT_CASE(4, c.vpsubd(d, a, b)),
    INT_CASE(2, c.vpmullw(d, a, b)),
    INT_CASE(4, c.vpmulld(d, a, b)),
    INT_CASE(2, c.vpmulhw(d, a, b)),
    INT_CASE(2, c.vpmulhuw(d, a, b)),
    INT_CASE(8, c.vpmuludq(d, a, b)),
    INT_CASE(4, c.vpmaddwd(d, a, b)),
    INT_CASE(2, c.vpmaddubsw(d, a, b)),
    INT_CASE(4, c.vpminsd(d, a, b)),
    INT_CASE(2, c.vpmaxuw(d, a, b)),
    INT_CASE(4, c.vpabsd(d, a)),
    INT_CASE(2, c.vpabsw(d, a)),
    INT_CASE(2, c.vpsllw(d, a, 4)),
    INT_CASE(4, c.vpslld(d, a, 16)),
    INT_CASE(8, c.vpsllq(d, a, 63)),
    INT_CASE(2, c.vpsrlw(d, a, 12)),
    INT_CASE(2, c.vpsrlw(d, a, 16)),
    INT_CASE(4, c.vpsrld(d, a, 31)),
    INT_CASE(8, c.vpsrlq(d, a, 60)),
    INT_CASE(2, c.vpsraw(d, a, 200)),
    INT_CASE(4, c.vpsrad(d, a, 3)),
    INT_CASE(4, c.vpsllvd(d, a, b)),
    INT_CASE(4, c.vpsrlvd(d, a, b)),
    INT_CASE(8, c.vpsrlvq(d, a, b)),
    INT_CASE(4, c.vpsravd(d, a, b)),
    INT_CASE(1, c.vpshufb(d, a, b)),
    INT_CASE(4, c.vpshufd(d, a, 0x1B)),
    INT_CASE(4, c.vpshufd(d, a, 0xE2)),
    INT_CASE(2, c.vpshuflw(d, a, 0x9C)),
    INT_CASE(2, c.vpshufhw(d, a, 0x63)),
    INT_CASE(4, c.vpermilps(d, a, 0x39)),
    INT_CASE(4, c.vpermilps(d, a, b)),
    INT_CASE(4, c.vshufps(d, a, b, 0x8D)),
    INT_CASE(8, c.vshufpd(d, a, b, 0x55)),
    INT_CASE(1, c.vpalignr(d, a, b, 5)),
    INT_CASE(1, c.vpalignr(d, a, b, 19)),
    INT_CASE(1, c.vpunpcklbw(d, a, b)),
    INT_CASE(1, c.vpunpckhbw(d, a, b)),
    INT_CASE(2, c.vpunpcklwd(d, a, b)),
    INT_CASE(2, c.vpunpckhwd(d, a, b)),
    INT_CASE(4, c.vpunpckldq(d, a, b)),
    INT_CASE(4, c.vpunpckhdq(d, a, b)),
    INT_CASE(8, c.vpunpcklqdq(d, a, b)),
    INT_CASE(8, c.vpunpckhqdq(d, a, b)),
    INT_CASE(4, c.vunpcklps(d, a, b)),
    INT_CASE(1, c.vpackuswb(d, a, b)),
    INT_CASE(1, c.vpacksswb(d, a, b)),
    INT_CASE(2, c.vpackssdw(d, a, b)),
    INT_CASE(2, c.vpackusdw(d, a, b)),
    INT_CASE(4, c.vmovshdup(d, a)),
    INT_CASE(4, c.vmovsldup(d, a)),
    FLOAT_CASE(c.vaddps(d, a, b)),
    FLOAT_CASE(c.vsubps(d, a, b)),
    FLOAT_CASE(c.vmulps(d, a, b)),
    FLOAT_CASE(c.vdivps(d, a, b)),
    FLOAT_CASE(c.vminps(d, a, b)),
    FLOAT_CASE(c.vmaxps(d, a, b)),
    FLOAT_CASE(c.vsqrtps(d, a)),
    FLOAT_CASE(c.vfmadd132ps(d, a, b)),
    FLOAT_CASE(c.vfmadd213ps(d, a, b)),
    FLOAT_CASE(c.vfmadd231ps(d, a, b)),
    FLOAT_CASE(c.vfmsub231ps(d, a, b)),
    FLOAT_CASE(c.vfnmadd132ps(d, a, b)),
    FLOAT_CASE(c.vfnmadd213ps(d, a, b)),
    FLOAT_CASE(c.vfnmadd231ps(d, a, b)),
    FLOAT_CASE(c.vfnmsub213ps(d, a, b)),
    FLOAT_CASE(c.vcvtdq2ps(d, a)),
    FLOAT_CASE(c.vcvtps2dq(d, a)),
    FLOAT_CASE(c.vcvttps2dq(d, a)),
    {"round", 4, true, EMIT(c.vroundps(d, a, 0)), EMIT(c.vrndscaleps(d, a, 0))},
    {"round by MXCSR", 4, true, EMIT(c.vroundps(d, a, 4)), EMIT(c.vrndscaleps(d, a, 4))},
};

constexpr std::uint32_t kMxcsrValues[] = {kMxcsrDefault, kMxcsrFlush, 0x3F80, 0x5FC0, 0xFF80};

Vec result_of(const LaneCase& lane_case, const Image& image) {
  return lane_case.is_float ? with_one_nan(image.v[0]) : image.v[0];
}

// The reference: the VEX form on the host, on the low and the high half of the operands.
Vec expected(const LaneCase& lane_case, const NativeCode& vex, const Image& image) {
  Vec result;
  for (std::size_t half = 0; half < 2; ++half) {
    Image part = image;
    for (Vec& v : part.v) std::memmove(v.bytes, v.bytes + 32 * half, 32);
    vex(part);
    std::memcpy(result.bytes + 32 * half, result_of(lane_case, part).bytes, 32);
  }
  return result;
}

Vec masked(const LaneCase& lane_case, const Vec& unmasked, const Image& image, bool zeroing) {
  Vec result = unmasked;
  for (std::size_t i = 0; i < sizeof(Vec); ++i) {
    if ((image.k[1] >> (i / lane_case.element) & 1) != 0) continue;
    result.bytes[i] = zeroing ? 0 : image.v[0].bytes[i];
  }
  return lane_case.is_float ? with_one_nan(result) : result;
}

void cut(Vec& v, int bits) { std::memset(v.bytes + bits / 8, 0, sizeof(Vec) - bits / 8); }

Bytes vex_program(const LaneCase& lane_case, int bits) {
  return vector_program({bits, 0, false},
                        [&](Code& c, const Shape& s) { lane_case.vex(c, s.reg(0), s.reg(1), s.reg(2)); });
}

Bytes evex_program(const LaneCase& lane_case, int bits, int base, bool is_masked, bool zeroing) {
  return vector_program({bits, base, true}, [&](Code& c, const Shape& s) {
    Xmm d = s.reg(0);
    if (is_masked) d.setOpmaskIdx(1);
    if (zeroing) d.setZero();
    lane_case.evex(c, d, s.reg(1), s.reg(2));
  });
}

void PrintTo(const LaneCase& lane_case, std::ostream* out) { *out << lane_case.name; }

class LanesTest : public testing::TestWithParam<LaneCase> {
 protected:
  Random random_{1};
};

TEST_P(LanesTest, VexFormEqualsHost) {
  for (const int bits : {128, 256}) {
    const Bytes code = vex_program(GetParam(), bits);
    const NativeCode native(code);
    for (int round = 0; round < 40; ++round) {
      Image emulated = random_.image();
      emulated.mxcsr = kMxcsrValues[round % std::size(kMxcsrValues)];
      Image host = emulated;
      run_emulated(code, emulated);
      native(host);
      ASSERT_TRUE(equal(result_of(GetParam(), emulated), result_of(GetParam(), host))) << bits << " bits\n"
                                                                                       << hex(emulated.v[0]) << "\n"
                                                                                       << hex(host.v[0]);
    }
  }
}

TEST_P(LanesTest, EvexFormEqualsHostHalves) {
  const NativeCode vex(vex_program(GetParam(), 256));
  for (const int bits : {128, 256, 512}) {
    for (int variant = 0; variant < 4; ++variant) {
      const bool is_masked = variant >= 2;
      const bool zeroing = variant == 3;
      const Bytes code = evex_program(GetParam(), bits, variant == 0 ? 0 : 20, is_masked, zeroing);
      for (int round = 0; round < 20; ++round) {
        Image image = random_.image();
        image.mxcsr = kMxcsrValues[round % std::size(kMxcsrValues)];
        Vec want = expected(GetParam(), vex, image);
        if (is_masked) want = masked(GetParam(), want, image, zeroing);
        cut(want, bits);
        const Image before = image;
        run_emulated(code, image);
        ASSERT_TRUE(equal(result_of(GetParam(), image), want)) << bits << " bits, variant " << variant << "\n"
                                                               << hex(image.v[0]) << "\n"
                                                               << hex(want);
        ASSERT_TRUE(equal(image.v[1], before.v[1]) && equal(image.v[2], before.v[2]));
      }
    }
  }
}

TEST(LanesEvexTest, EqualsHostEvex) {
  ZENWOQ_SKIP_WITHOUT_AVX512();
  Random random(2);
  for (const LaneCase& lane_case : kCases) {
    const Bytes code = evex_program(lane_case, 512, 16, true, false);
    const NativeCode native(code);
    for (int round = 0; round < 40; ++round) {
      Image emulated = random.image();
      emulated.mxcsr = kMxcsrValues[round % std::size(kMxcsrValues)];
      Image host = emulated;
      run_emulated(code, emulated);
      native(host);
      EXPECT_TRUE(equal(result_of(lane_case, emulated), result_of(lane_case, host))) << lane_case.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, LanesTest, testing::ValuesIn(kCases));

}  // namespace
}  // namespace zenwoq::emulator
