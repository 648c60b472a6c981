// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Vector and mask instructions, one at a time, against the host.
#include "tests/emulator/test_support.h"

namespace zenwoq::emulator {
namespace {

using namespace Xbyak::util;
using Xbyak::Xmm;

struct VectorCase {
  const char* name;
  void (*emit)(Code& c);
};

#define CASE(statement)                       \
  {                                           \
#statement, [](Code & c) { c.statement; } \
  }

Xbyak::Address mem(std::size_t at) { return ptr[image_at(&Image::memory, at)]; }
Xbyak::Address mem_b(std::size_t at) { return ptr_b[image_at(&Image::memory, at)]; }

// Several cases per line.
// clang-format off
const VectorCase kVexCases[] = {
    CASE(vmovdqu(ymm0, mem(3))), CASE(vmovdqu(mem(3), xmm1)), CASE(vmovdqa(ymm0, mem(32))), CASE(vmovdqa(xmm0, xmm1)),
    CASE(vmovaps(mem(32), ymm1)), CASE(vmovaps(ymm0, ymm1)), CASE(vmovups(mem(7), xmm1)), CASE(vmovups(ymm0, mem(7))),
    
    CASE(vmovd(xmm0, eax)), CASE(vmovq(xmm0, rax)), CASE(vmovd(ecx, xmm1)), CASE(vmovq(rcx, xmm1)),
    CASE(vmovq(xmm0, xmm1)), CASE(vmovd(xmm0, mem(5))), CASE(vmovq(xmm0, mem(5))), CASE(vmovd(mem(5), xmm1)),
    CASE(vmovq(mem(5), xmm1)), CASE(vmovss(xmm0, mem(4))), CASE(vmovss(mem(4), xmm1)),
    CASE(vpinsrw(xmm0, xmm1, ecx, 5)), CASE(vpinsrw(xmm0, xmm1, mem(2), 7)), CASE(vpinsrd(xmm0, xmm1, mem(0), 2)),
    CASE(vpextrw(eax, xmm1, 3)), CASE(vpextrw(mem(8), xmm1, 6)), CASE(vpextrd(mem(8), xmm1, 3)),
    CASE(vpextrq(rax, xmm1, 1)), CASE(vpbroadcastb(ymm0, xmm1)), CASE(vpbroadcastw(xmm0, mem(2))),
    CASE(vpbroadcastd(ymm0, mem(4))), CASE(vbroadcastss(ymm0, mem(4))), CASE(vbroadcastss(ymm0, xmm1)),
    CASE(vbroadcasti128(ymm0, mem(16))), CASE(vbroadcastf128(ymm0, mem(16))), CASE(vpermd(ymm0, ymm1, ymm2)),
    CASE(vpermps(ymm0, ymm1, mem(1))), CASE(vpermq(ymm0, ymm1, 0x2D)), CASE(vperm2i128(ymm0, ymm1, ymm2, 0x21)),
    CASE(vperm2f128(ymm0, ymm1, ymm2, 0x83)), CASE(vinserti128(ymm0, ymm1, xmm2, 1)),
    CASE(vinsertf128(ymm0, ymm1, mem(0), 0)), CASE(vextracti128(xmm0, ymm1, 1)), CASE(vextractf128(mem(9), ymm1, 1)),
    CASE(vpsrlw(ymm0, ymm1, mem(0))), CASE(vpslld(ymm0, ymm1, xmm2)), CASE(vpblendd(ymm0, ymm1, ymm2, 0xA6)),
    CASE(vpblendw(ymm0, ymm1, ymm2, 0x5C)), CASE(vblendps(ymm0, ymm1, ymm2, 0x35)), CASE(vpandn(ymm0, ymm1, ymm2)),
    CASE(vpcmpeqd(ymm0, ymm1, ymm2)), CASE(vpcmpeqd(xmm0, xmm1, xmm1)), CASE(vpcmpgtd(ymm0, ymm1, ymm2)),
    CASE(vpmovzxbd(ymm0, mem(5))), CASE(vpmovzxwd(xmm0, mem(5))), CASE(vpmovzxwd(ymm0, xmm1)),
    CASE(vpmovsxbd(ymm0, xmm1)), CASE(vpmovsxwd(ymm0, mem(5))), CASE(vpmovsxbw(xmm0, mem(5))),
    CASE(vpmovsxbw(ymm0, xmm1)), CASE(vcvtph2ps(ymm0, xmm1)),
    CASE(vcmpps(ymm0, ymm1, ymm2, 5)), CASE(vcmpps(xmm0, xmm1, xmm2, 5)), CASE(vcmpps(ymm0, ymm1, mem(5), 5)),
    CASE(vcvtph2ps(xmm0, mem(5))), CASE(vaddps(ymm0, ymm1, mem(5))), CASE(vfmadd231ps(ymm0, ymm1, mem(5))),
};

// Image::v is in zmm16 to zmm23: registers that VEX cannot name.
const VectorCase kEvexCases[] = {
    CASE(vmovdqu8(zmm16 | k1 | T_z, mem(0))), CASE(vmovdqu16(zmm16 | k1, mem(0))), CASE(vmovdqu16(mem(8) | k1, ymm17)),
    CASE(vmovdqu32(ymm16 | k1, mem(0))), CASE(vmovdqu64(mem(0) | k1, zmm17)), CASE(vmovups(mem(0) | k1, zmm17)),
    CASE(vmovdqu8(mem(0) | k3, zmm17)), CASE(vmovdqu32(zmm16 | k1 | T_z, zmm17)), CASE(vmovaps(zmm16, mem(0))),
    CASE(vmovd(xmm16, ecx)), CASE(vmovq(rcx, xmm17)), CASE(vpbroadcastb(ymm16, dl)), CASE(vpbroadcastw(zmm16, cx)),
    CASE(vpbroadcastd(zmm16 | k2, ecx)), CASE(vpbroadcastd(zmm16, mem(4))), CASE(vbroadcastss(zmm16 | k1 | T_z, xmm17)),
    CASE(vbroadcasti64x4(zmm0, mem(32))), CASE(vpermw(zmm16, zmm17, zmm18)), CASE(vpermw(ymm16, ymm17, ymm18)), CASE(vpermw(xmm16, xmm17, xmm18)),
    CASE(vpermd(zmm16, zmm17, zmm18)), CASE(vpermps(zmm16, zmm17, mem_b(8))), CASE(vpermq(zmm16, zmm17, 0x1B)),
    CASE(vpternlogd(zmm16, zmm17, zmm18, 0xD8)), CASE(vpternlogd(ymm16 | k1, ymm17, mem_b(4), 0x35)),
    CASE(vpsrld(zmm16, mem_b(4), 3)), CASE(vpsrlw(zmm16, mem(0), 4)), CASE(vpaddd(zmm16, zmm17, mem_b(12))),
    CASE(vpandd(zmm16 | k2, zmm17, mem_b(8))), CASE(vpmovzxwd(zmm16, ymm17)), CASE(vpmovsxwd(zmm16, ymm17)),
    CASE(vpmovsxbw(zmm16 | k1 | T_z, ymm17)), CASE(vpmovsxbd(zmm16, xmm17)), CASE(vpmovzxbd(zmm16 | k1 | T_z, mem(48))), CASE(vpmovdb(xmm16, zmm17)),
    CASE(vpmovdb(xmm16 | k1, ymm17)), CASE(vpmovdb(mem(8) | k1, zmm17)), CASE(vpmovsdb(xmm16, zmm17)),
    CASE(vcvtph2ps(zmm16, ymm17)), CASE(vcvtdq2ps(zmm16, mem_b(4))), CASE(vdpbf16ps(zmm16, zmm17, mem(0))),
    CASE(vdpbf16ps(zmm16 | k1, zmm17, mem_b(8))), CASE(vdpbf16ps(ymm16 | k1 | T_z, ymm17, ymm18)),
    CASE(vcvtneps2bf16(ymm16, zmm17)), CASE(vcvtneps2bf16(xmm16, xmm17)), CASE(vcvtneps2bf16(ymm16 | k1, zmm17)),
    CASE(vpdpbusd(zmm16, zmm17, zmm18)), CASE(vpdpbusd(ymm16 | k1, ymm17, mem_b(16))),
    CASE(vcmpps(k1, zmm17, zmm18, 5)), CASE(vcmpps(k2, zmm17, mem_b(4), 5)), CASE(vcmpps(k3, zmm17, mem(0), 5)),
    CASE(vcmpps(k2, ymm17, ymm18, 5)), CASE(vcmpps(k1, xmm17, mem_b(8), 5)),
    CASE(vaddps(zmm16, zmm17, mem_b(4))), CASE(vfmadd231ps(zmm16, zmm17, mem_b(4))), CASE(kmovb(k1, ecx)),
    CASE(kmovw(k1, ecx)), CASE(kmovd(k1, ecx)), CASE(kmovq(k1, rcx)), CASE(kmovw(ecx, k1)), CASE(kmovd(ecx, k1)),
    CASE(kmovq(k1, k2)), CASE(kmovw(k1, k2)), CASE(kmovd(k1, mem(4))), CASE(kmovw(mem(2), k1)),
};
// clang-format on

// d = f(d, a, b) in VEX and in EVEX form, for every length and masking.
struct FormCase {
  const char* name;
  void (*vex)(Code& c, const Xmm& d, const Xmm& a, const Xmm& b);
  void (*evex)(Code& c, const Xmm& d, const Xmm& a, const Xmm& b);
};

#define EMIT(statement) [](Code& c, const Xmm& d, const Xmm& a, const Xmm& b) { (void)a, (void)b, c.statement; }
#define FORM(statement) \
  { #statement, EMIT(statement), EMIT(statement) }
#define TWO(vex, evex) \
  { #vex, EMIT(vex), EMIT(evex) }

// Several cases per line.
// clang-format off
const FormCase kForms[] = {
    FORM(vxorps(d, a, b)), FORM(vandps(d, a, b)), FORM(vandnps(d, a, b)), FORM(vorps(d, a, b)), FORM(vpaddb(d, a, b)),
    FORM(vpaddw(d, a, b)), FORM(vpaddd(d, a, b)), FORM(vpsubb(d, a, b)), FORM(vpsubd(d, a, b)), FORM(vpmulld(d, a, b)),
    FORM(vpmaddwd(d, a, b)), FORM(vpmaddubsw(d, a, b)), FORM(vpsllw(d, a, 4)), FORM(vpslld(d, a, 16)),
    FORM(vpsrlw(d, a, 12)), FORM(vpsrlw(d, a, 16)), FORM(vpsrld(d, a, 31)), FORM(vpsrad(d, a, 3)),
    FORM(vpsrad(d, a, 200)), FORM(vpshufb(d, a, b)), FORM(vpshufd(d, a, 0x1B)), FORM(vpermilps(d, a, 0x39)),
    FORM(vshufps(d, a, b, 0x8D)), FORM(vpunpcklbw(d, a, b)), FORM(vpunpckhbw(d, a, b)), FORM(vpunpcklwd(d, a, b)),
    FORM(vpunpckhwd(d, a, b)), FORM(vpunpckldq(d, a, b)), FORM(vpunpckhdq(d, a, b)), FORM(vpunpcklqdq(d, a, b)),
    FORM(vpunpckhqdq(d, a, b)), FORM(vpackuswb(d, a, b)), FORM(vpackssdw(d, a, b)), FORM(vpackusdw(d, a, b)),
    FORM(vaddps(d, a, b)), FORM(vsubps(d, a, b)), FORM(vmulps(d, a, b)), FORM(vdivps(d, a, b)), FORM(vminps(d, a, b)),
    FORM(vmaxps(d, a, b)), FORM(vfmadd132ps(d, a, b)), FORM(vfmadd213ps(d, a, b)), FORM(vfmadd231ps(d, a, b)),
    FORM(vfnmadd231ps(d, a, b)),
    FORM(vcvtdq2ps(d, a)), FORM(vcvtps2dq(d, a)), FORM(vmovups(d, a)), FORM(vmovaps(d, a)),
    TWO(vpxor(d, a, b), vpxord(d, a, b)), TWO(vpand(d, a, b), vpandd(d, a, b)), TWO(vpor(d, a, b), vpord(d, a, b)),
    TWO(vroundps(d, a, 0), vrndscaleps(d, a, 0)), TWO(vroundps(d, a, 4), vrndscaleps(d, a, 4)),
    TWO(vroundps(d, a, 9), vrndscaleps(d, a, 9)),
};
// clang-format on

void PrintTo(const VectorCase& vector_case, std::ostream* out) { *out << vector_case.name; }
void PrintTo(const FormCase& form, std::ostream* out) { *out << form.name; }

class VexTest : public testing::TestWithParam<VectorCase> {};
class EvexTest : public testing::TestWithParam<VectorCase> {};
class FormTest : public testing::TestWithParam<FormCase> {};

TEST_P(VexTest, EqualsHost) {
  expect_equal_host(vector_program({}, [](Code& c, const Shape&) { GetParam().emit(c); }), 100);
}

TEST_P(EvexTest, EqualsHost) {
  ZENWOQ_SKIP_WITHOUT_AVX512();
  expect_equal_host(vector_program({512, 16, true}, [](Code& c, const Shape&) { GetParam().emit(c); }), 100);
}

TEST_P(FormTest, VexEqualsHost) {
  for (const int bits : {128, 256}) {
    const auto emit = [](Code& c, const Shape& s) { GetParam().vex(c, s.reg(0), s.reg(1), s.reg(2)); };
    expect_equal_host(vector_program({bits, 0, false}, emit), 40);
  }
}

TEST_P(FormTest, EvexEqualsHost) {
  ZENWOQ_SKIP_WITHOUT_AVX512();
  for (const int bits : {128, 256, 512}) {
    for (int variant = 0; variant < 4; ++variant) {
      const auto emit = [&](Code& c, const Shape& s) {
        Xmm d = s.reg(0);
        if (variant >= 2) d.setOpmaskIdx(1);
        if (variant == 3) d.setZero();
        GetParam().evex(c, d, s.reg(1), s.reg(2));
      };
      expect_equal_host(vector_program({bits, variant == 0 ? 0 : 20, true}, emit), 20);
    }
  }
}

TEST(VectorTest, ChangedMxcsrAndZeroedUpperHalvesEqualHost) {
  const auto emit = [](Code& c, const Shape&) {
    c.vstmxcsr(mem(0));
    c.and_(dword[image_at(&Image::memory)], kMxcsrControl);  // sticky exception flags are not emulated
    c.mov(dword[image_at(&Image::memory, 4)], 0x5F80);
    c.vldmxcsr(mem(4));
    c.vaddps(ymm0, ymm1, ymm2);
    c.vzeroupper();
  };
  expect_equal_host(vector_program({}, emit), 100);
}

INSTANTIATE_TEST_SUITE_P(All, VexTest, testing::ValuesIn(kVexCases));
INSTANTIATE_TEST_SUITE_P(All, EvexTest, testing::ValuesIn(kEvexCases));
INSTANTIATE_TEST_SUITE_P(All, FormTest, testing::ValuesIn(kForms));

}  // namespace
}  // namespace zenwoq::emulator
